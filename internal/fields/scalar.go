package fields

// beginLiteral takes true, false or null from its first byte on.
func (s *Scanner) beginLiteral(p []byte, i int) int {
	s.state = inLiteral
	switch p[i] {
	case 't':
		s.literal = "true"
	case 'f':
		s.literal = "false"
	default:
		s.literal = "null"
	}
	return s.continueLiteral(p, i)
}

func (s *Scanner) continueLiteral(p []byte, i int) int {
	n := 0
	for ; n < len(s.literal) && i < len(p); n, i = n+1, i+1 {
		if p[i] != s.literal[n] {
			return s.refuse(i, Malformed, detailLiteral)
		}
	}
	s.literal = s.literal[n:]
	if s.literal == "" {
		s.state = s.afterValue()
	}
	return i
}

// numberPart is the part of a number (RFC 8259, section 6) that the last byte belongs to.
type numberPart uint8

const (
	minus        numberPart = iota // a digit must follow
	zero                           // a first digit 0: no digit may follow
	integer                        // digits
	point                          // a digit must follow
	fraction                       // digits
	exponent                       // 'e': a sign or a digit must follow
	exponentSign                   // a digit must follow
	power                          // digits
	numberEnd
)

// beginNumber takes a number from its first byte on, which is '-' or a digit.
func (s *Scanner) beginNumber(p []byte, i int) int {
	if n := wholeNumber(p[i:]); n != 0 {
		s.state = s.afterValue()
		return i + n
	}
	s.state = inNumber
	switch p[i] {
	case '-':
		s.number = minus
	case '0':
		s.number = zero
	default:
		s.number = integer
	}
	return s.continueNumber(p, i+1)
}

// wholeNumber is the length of the number that p begins with, or 0 when that is wrong or reaches the end of p.
func wholeNumber(p []byte) int {
	i := 0
	if p[0] == '-' {
		i++
	}
	first := i
	i = digitsEnd(p, i)
	if i == first || i == len(p) || p[first] == '0' && i > first+1 {
		return 0
	}
	if p[i] == '.' {
		first = i + 1
		if i = digitsEnd(p, first); i == first || i == len(p) {
			return 0
		}
	}
	if p[i] == 'e' || p[i] == 'E' {
		if i++; i < len(p) && (p[i] == '+' || p[i] == '-') {
			i++
		}
		first = i
		if i = digitsEnd(p, first); i == first || i == len(p) {
			return 0
		}
	}
	return i
}

func digitsEnd(p []byte, i int) int {
	for i < len(p) && '0' <= p[i] && p[i] <= '9' {
		i++
	}
	return i
}

// continueNumber takes the rest of a number. The byte after it is left.
func (s *Scanner) continueNumber(p []byte, i int) int {
	for ; i < len(p); i++ {
		next := s.number.after(p[i])
		if next == numberEnd {
			if !s.number.canEnd() {
				return s.refuse(i, Malformed, detailNumber)
			}
			s.state = s.afterValue()
			return i
		}
		s.number = next
	}
	return i
}

// after is the part that c belongs to when it comes after a byte of part n; numberEnd when the number cannot go on with c.
func (n numberPart) after(c byte) numberPart {
	digit := '0' <= c && c <= '9'
	switch {
	case digit && n == minus && c == '0':
		return zero
	case digit && n == minus, digit && n == integer:
		return integer
	case digit && n == point, digit && n == fraction:
		return fraction
	case digit && (n == exponent || n == exponentSign || n == power):
		return power
	case c == '.' && (n == zero || n == integer):
		return point
	case (c == 'e' || c == 'E') && (n == zero || n == integer || n == fraction):
		return exponent
	case (c == '+' || c == '-') && n == exponent:
		return exponentSign
	}
	return numberEnd
}

// canEnd reports whether a number is complete after a byte of part n.
func (n numberPart) canEnd() bool {
	return n == zero || n == integer || n == fraction || n == power
}
