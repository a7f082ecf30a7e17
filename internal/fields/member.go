package fields

import "unicode/utf8"

// beginName takes the name of a member from after its opening quote on. Only top-level names are compared.
func (s *Scanner) beginName(p []byte, i int) int {
	if s.depth != 1 || s.spec == nil {
		return s.beginOther(p, i, beforeColon)
	}
	if end := plainEnd(p, i); end < len(p) && p[end] == '"' {
		if k, exact, ok := s.spec.find(p[i:end]); ok {
			return s.named(k, exact, end)
		}
		s.state = beforeColon
		return end + 1
	}
	s.state, s.text.role, s.match = inString, nameText, s.spec.newMatcher()
	return s.matchText(p, i)
}

// matchText takes a name up to its end, the end of p, an escape, or a character outside ASCII.
func (s *Scanner) matchText(p []byte, i int) int {
	for ; i < len(p); i++ {
		switch c := p[i]; {
		case c == '"':
			if k, exact, ok := s.match.result(s.spec); ok {
				return s.named(k, exact, i)
			}
			s.state = beforeColon
			return i + 1
		case c == '\\':
			s.state = inEscape
			return i + 1
		case c < ' ':
			return s.refuse(i, Malformed, detailRawControl)
		case c >= utf8.RuneSelf:
			return s.beginRune(c, i)
		default:
			s.match.take(s.spec, rune(c))
		}
		if s.match.alive == 0 {
			return s.beginOther(p, i+1, beforeColon)
		}
	}
	return i
}

// matchRune takes a character of a name that was written as an escape or is outside ASCII; p[i] is its last byte.
func (s *Scanner) matchRune(r rune, i int) int {
	if r == 0 { // some readers end the name here
		if k, _, ok := s.match.result(s.spec); ok {
			return s.refuseField(i, k, Duplicate, detailAlike)
		}
	}
	s.match.take(s.spec, r)
	if s.match.alive == 0 {
		s.text.role, s.text.next = otherText, beforeColon
	}
	return i + 1
}

// named takes the closing quote, at p[i], of a name that is the k-th promoted one or folds to it.
func (s *Scanner) named(k int, exact bool, i int) int {
	bit := nameSet(1) << k
	switch {
	case !exact:
		return s.refuseField(i, k, Duplicate, detailAlike)
	case s.seen&bit != 0:
		return s.refuseField(i, k, Duplicate, "")
	}
	s.seen |= bit
	s.field = k + 1
	s.state = beforeColon
	return i + 1
}

// promoted gathers a promoted value. A value that lies in one piece of the body without an escape stays there and is a part
// of that piece; what cannot stay is copied.
type promoted struct {
	buf   []byte // the copied values of this body, one after the other: at most MaxFields * MaxValue bytes
	begin int    // where in buf the current value begins
	run   int    // while inRun: where in the current piece the bytes begin that belong to the value and are not copied
	inRun bool   // false outside of a promoted value, and in its escapes
}

// length is the decoded length of the value so far, which in a run goes on to the byte before p[i].
func (v *promoted) length(i int) int {
	n := len(v.buf) - v.begin
	if v.inRun {
		n += i - v.run
	}
	return n
}

// copyRun copies the run, which ends before p[i].
func (v *promoted) copyRun(p []byte, i int) {
	v.buf = append(v.buf, p[v.run:i]...)
	v.inRun = false
}

// endOfPiece copies what belongs to a value that goes on in the next piece.
func (v *promoted) endOfPiece(p []byte) {
	if v.inRun {
		v.copyRun(p, len(p))
		v.beginRun(0)
	}
}

func (v *promoted) beginRun(i int) { v.run, v.inRun = i, true }

// end is the whole value, whose last run ends before p[i].
func (v *promoted) end(p []byte, i int) []byte {
	if len(v.buf) == v.begin {
		v.inRun = false
		return p[v.run:i:i]
	}
	v.copyRun(p, i)
	return v.buf[v.begin:len(v.buf):len(v.buf)]
}

// beginPromoted takes a promoted value from after its opening quote on.
func (s *Scanner) beginPromoted(p []byte, i int) int {
	end := i
	for limit := min(len(p), i+MaxValue); end < limit && promotable[p[end]]; {
		end++
	}
	if end < len(p) && p[end] == '"' {
		return s.promoted(p[i:end:end], end)
	}
	s.state, s.text.role = inString, promotedText
	s.promote.begin = len(s.promote.buf)
	s.promote.beginRun(i)
	return s.promoteText(p, end)
}

// promotable tells the ASCII bytes that stand for themselves in a promoted value.
var promotable = func() [256]bool {
	table := plain
	table[0x7F] = false
	return table
}()

// promoteText takes a promoted value up to its end, the end of p, an escape, or a character outside ASCII.
func (s *Scanner) promoteText(p []byte, i int) int {
	limit := min(len(p), i+MaxValue-s.promote.length(i))
	for i < limit && promotable[p[i]] {
		i++
	}
	if i == len(p) {
		return i
	}
	switch c := p[i]; {
	case c == '"':
		return s.promoted(s.promote.end(p, i), i)
	case c == '\\':
		s.promote.copyRun(p, i)
		s.state = inEscape
		return i + 1
	case c < ' ':
		return s.refuse(i, Malformed, detailRawControl)
	case c == 0x7F:
		return s.refuseField(i, s.field-1, BadValue, detailControl)
	case i == limit:
		return s.refuseField(i, s.field-1, LongValue, "")
	default:
		return s.beginRune(c, i)
	}
}

// promoteEscaped takes a character of a promoted value that was written as an escape; p[i] is its last byte.
func (s *Scanner) promoteEscaped(r rune, i int) int {
	v := &s.promote
	if isControl(r) {
		return s.refuseField(i, s.field-1, BadValue, detailControl)
	}
	if v.length(i)+utf8.RuneLen(r) > MaxValue {
		return s.refuseField(i, s.field-1, LongValue, "")
	}
	v.buf = utf8.AppendRune(v.buf, r)
	v.beginRun(i + 1)
	return i + 1
}

// promoted takes a whole promoted value, whose closing quote is p[i]. Only spaces are looked for at its ends, because a tab
// is a control character and was refused before.
func (s *Scanner) promoted(value []byte, i int) int {
	switch {
	case len(value) == 0:
		return s.refuseField(i, s.field-1, EmptyValue, "")
	case value[0] == ' ' || value[len(value)-1] == ' ':
		return s.refuseField(i, s.field-1, BadValue, detailSpace)
	}
	s.values[s.field-1] = value
	s.field = 0
	s.state = afterMember
	return i + 1
}

// isControl reports whether r is a control character: C0, DEL or C1.
func isControl(r rune) bool { return r < ' ' || 0x7F <= r && r <= 0x9F }
