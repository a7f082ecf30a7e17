package fields

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const maxName = 256 // bytes of a promoted name

// Spec is the set of member names to read. It is immutable and can be shared.
type Spec struct {
	names  []string
	runes  [][]rune     // each name as characters
	folded [][]rune     // and each character folded; folding keeps the count
	first  [256]nameSet // by the first byte of an ASCII name in a body: the names that it can be, case aside
}

// nameSet has one bit for each name of a Spec, the first name's being the lowest.
type nameSet uint8

// NewSpec makes a Spec of 1 to MaxFields names of 1 to 256 bytes of valid UTF-8 without a NUL, no two of which differ by
// case only.
func NewSpec(names ...string) (*Spec, error) {
	if len(names) == 0 || len(names) > MaxFields {
		return nil, fmt.Errorf("%d field names: give 1 to %d", len(names), MaxFields)
	}
	s := &Spec{names: slices.Clone(names)}
	for i, name := range s.names {
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("field name %d, %q: %w", i+1, name, err)
		}
		runes := []rune(name)
		folded := make([]rune, len(runes))
		for j, r := range runes {
			folded[j] = fold(r)
		}
		for j, other := range s.folded {
			if slices.Equal(folded, other) {
				return nil, fmt.Errorf("field names %q and %q: they differ by case at most; keep one of them", s.names[j], name)
			}
		}
		s.runes, s.folded = append(s.runes, runes), append(s.folded, folded)
	}
	for c := range rune(utf8.RuneSelf) {
		for k := range s.names {
			if fold(c) == s.folded[k][0] {
				s.first[c] |= 1 << k
			}
		}
	}
	return s, nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("it is empty; name a member of the body")
	case len(name) > maxName:
		return fmt.Errorf("it has %d bytes; give at most %d", len(name), maxName)
	case !utf8.ValidString(name):
		return errors.New("it is not valid UTF-8")
	case strings.ContainsRune(name, 0):
		return errors.New("it holds a NUL; some readers end a name there")
	}
	return nil
}

// Names are the names in the order given to NewSpec. The caller must not change the slice.
func (s *Spec) Names() []string { return s.names }

// find compares a whole name in ASCII, as it stands in the body, with the names of the Spec. It is the quick way to what a
// matcher finds.
func (s *Spec) find(name []byte) (k int, exact, ok bool) {
	if len(name) == 0 {
		return 0, false, false
	}
	for set := s.first[name[0]]; set != 0; set &= set - 1 {
		k := bits.TrailingZeros8(uint8(set))
		if string(name) == s.names[k] {
			return k, true, true
		}
		if s.foldsTo(k, name) {
			return k, false, true
		}
	}
	return 0, false, false
}

func (s *Spec) foldsTo(k int, name []byte) bool {
	folded := s.folded[k]
	if len(folded) != len(name) {
		return false
	}
	for i, c := range name {
		if folded[i] != fold(rune(c)) {
			return false
		}
	}
	return true
}

// matcher compares a name with the names of a Spec while its characters come in one at a time, escapes decoded. It is all
// that is kept of a name, however long that is.
type matcher struct {
	alive nameSet // the names that the characters so far begin, case aside
	exact nameSet // those that they begin exactly
	n     int     // characters so far; not counted further once none is alive
}

func (s *Spec) newMatcher() matcher {
	all := nameSet(1<<len(s.names) - 1)
	return matcher{alive: all, exact: all}
}

func (m *matcher) take(s *Spec, r rune) {
	f := fold(r)
	for set := m.alive; set != 0; set &= set - 1 {
		k := bits.TrailingZeros8(uint8(set))
		switch {
		case m.n >= len(s.folded[k]) || s.folded[k][m.n] != f:
			m.alive &^= 1 << k
		case s.runes[k][m.n] != r:
			m.exact &^= 1 << k
		}
	}
	m.n++
}

// result says which name the characters so far are. No two names are alike, so there is at most one.
func (m *matcher) result(s *Spec) (k int, exact, ok bool) {
	for set := m.alive; set != 0; set &= set - 1 {
		k := bits.TrailingZeros8(uint8(set))
		if len(s.folded[k]) == m.n {
			return k, m.exact&(1<<k) != 0, true
		}
	}
	return 0, false, false
}

// fold maps all characters that a reader without regard to case could take for one another to the same one: those of one
// orbit of Unicode's simple case folding, as encoding/json does, and the dotted capital I and the dotless small i with the
// plain ones. These two have no simple folding, but Unicode's simple mappings to lower and upper case, which Java's
// equalsIgnoreCase uses, lead from them to i and I; they are the only such characters.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		if 'a' <= r && r <= 'z' {
			r -= 'a' - 'A'
		}
		return r
	}
	if r == 'İ' || r == 'ı' {
		return 'I'
	}
	for {
		next := unicode.SimpleFold(r)
		if next <= r {
			return next // the orbit has wrapped round to its smallest
		}
		r = next
	}
}
