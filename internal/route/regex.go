package route

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
)

// Limits of a regular expression. Istio refuses longer ones as well, and has Envoy accept programs of this size.
const (
	MaxRegex        = 1024      // bytes
	MaxRegexProgram = 32 * 1024 // instructions, after counted repetitions were unrolled
)

// CheckRegex says what is wrong with an RE2 expression, or nil.
func CheckRegex(expr string) error {
	_, err := newRegex(expr)
	return err
}

// regex is an RE2 expression that must match a whole string, byte by byte: as in Envoy, which takes neither the expression
// nor the string for UTF-8. Its matching time is linear in the length of the string (R. Cox, "Regular Expression Matching
// Can Be Simple And Fast", 2007).
type regex struct{ whole *regexp.Regexp }

func newRegex(expr string) (*regex, error) {
	switch {
	case expr == "":
		return nil, errors.New("the regular expression is empty")
	case len(expr) > MaxRegex:
		return nil, fmt.Errorf("the regular expression has %d bytes, more than %d", len(expr), MaxRegex)
	}
	// It has to be well-formed for itself: "a)(b" would be, inside of the group below.
	parsed, err := syntax.Parse(latin1(expr), syntax.Perl)
	if err != nil {
		return nil, regexError(err)
	}
	prog, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return nil, regexError(err)
	}
	if n := len(prog.Inst); n > MaxRegexProgram {
		return nil, fmt.Errorf("the regular expression is too large: %d instructions, more than %d", n, MaxRegexProgram)
	}
	whole, err := regexp.Compile(`\A(?:` + latin1(expr) + `)\z`)
	if err != nil {
		return nil, regexError(err)
	}
	return &regex{whole}, nil
}

func regexError(err error) error {
	if se, ok := errors.AsType[*syntax.Error](err); ok {
		return fmt.Errorf("not an RE2 expression: %s: %q", se.Code, se.Expr)
	}
	return fmt.Errorf("not an RE2 expression: %w", err)
}

func (r *regex) match(s string) bool { return r.whole.MatchString(latin1(s)) }

// latin1 makes each byte of s a character of its own, so that "." matches one byte. It allocates only for other than ASCII.
func latin1(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			runes := make([]rune, len(s))
			for i := range len(s) {
				runes[i] = rune(s[i])
			}
			return string(runes)
		}
	}
	return s
}
