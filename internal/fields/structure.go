package fields

// class is what a byte is outside of strings, numbers and literals.
type class uint8

const (
	otherByte class = iota
	space
	quote
	colon
	comma
	openBrace
	closeBrace
	openBracket
	closeBracket
	numeral // the first byte of a number
	letter  // the first byte of a literal
	classes
)

var classOf = [256]class{
	' ': space, '\t': space, '\n': space, '\r': space,
	'"': quote, ':': colon, ',': comma,
	'{': openBrace, '}': closeBrace, '[': openBracket, ']': closeBracket,
	'-': numeral, '0': numeral, '1': numeral, '2': numeral, '3': numeral, '4': numeral,
	'5': numeral, '6': numeral, '7': numeral, '8': numeral, '9': numeral,
	't': letter, 'f': letter, 'n': letter,
}

// action is what a byte makes the scanner do in a state between tokens.
type action uint8

const (
	refuseByte action = iota
	skipByte
	beginObject
	beginArray
	endInnermost
	readName
	readText
	readPromoted
	refusePromoted
	readNumber
	readLiteral
	readColon
	readComma
)

// actions is the grammar of JSON (RFC 8259, sections 2 to 5) for a body that is an object, or an array, which has no members.
var actions = [betweenTokens][classes]action{
	beforeBody:     {space: skipByte, openBrace: beginObject, openBracket: beginArray},
	firstName:      {space: skipByte, quote: readName, closeBrace: endInnermost},
	nextName:       {space: skipByte, quote: readName},
	beforeColon:    {space: skipByte, colon: readColon},
	beforePromoted: {space: skipByte, quote: readPromoted, openBrace: refusePromoted, openBracket: refusePromoted, numeral: refusePromoted, letter: refusePromoted},
	beforeValue:    {space: skipByte, quote: readText, openBrace: beginObject, openBracket: beginArray, numeral: readNumber, letter: readLiteral},
	firstElement:   {space: skipByte, quote: readText, openBrace: beginObject, openBracket: beginArray, numeral: readNumber, letter: readLiteral, closeBracket: endInnermost},
	afterMember:    {space: skipByte, comma: readComma, closeBrace: endInnermost},
	afterElement:   {space: skipByte, comma: readComma, closeBracket: endInnermost},
	afterBody:      {space: skipByte},
	closed:         {space: skipByte},
}

// structure takes tokens until it meets the end of p or stands in one that goes on after p. What most often follows a token,
// a ':' after a name and a ',' after a value, is taken together with it.
func (s *Scanner) structure(p []byte, i int) int {
	for i < len(p) {
		at := s.state
		if at >= betweenTokens {
			return i
		}
		switch actions[at][classOf[p[i]]] {
		case skipByte:
			i = skipSpaces(p, i+1)
			continue
		case readName:
			i = s.beginName(p, i+1)
			if i < len(p) && p[i] == ':' && s.state == beforeColon {
				i = s.colon(p, i)
			}
			continue
		case readColon:
			i = s.colon(p, i)
			continue
		case readText:
			i = s.beginOther(p, i+1, s.afterValue())
		case readPromoted:
			i = s.beginPromoted(p, i+1)
		case readNumber:
			i = s.beginNumber(p, i)
		case readLiteral:
			i = s.beginLiteral(p, i)
		case beginObject:
			i = s.begin(i, 1, firstName)
			continue
		case beginArray:
			i = s.begin(i, 0, firstElement)
			continue
		case endInnermost:
			i = s.end(i)
		case readComma: // done below
		case refusePromoted:
			return s.refuseField(i, s.field-1, NotString, "")
		default:
			return s.refuseToken(i)
		}
		if i < len(p) && p[i] == ',' {
			switch s.state {
			case afterMember:
				s.state = nextName
				i = skipSpaces(p, i+1)
			case afterElement:
				s.state = beforeValue
				i = skipSpaces(p, i+1)
			}
		}
	}
	return i
}

// colon takes the ':' after a name.
func (s *Scanner) colon(p []byte, i int) int {
	s.state = beforeValue
	if s.field != 0 {
		s.state = beforePromoted
	}
	return skipSpaces(p, i+1)
}

// skipSpaces takes spaces in a row, such as indentation, faster than one byte at a time.
func skipSpaces(p []byte, i int) int {
	for i < len(p) && p[i] == ' ' {
		i++
	}
	return i
}

// refuseToken says what should have been there instead of p[i].
func (s *Scanner) refuseToken(i int) int {
	switch s.state {
	case beforeBody:
		return s.refuse(i, Malformed, detailNeither)
	case firstName, nextName:
		return s.refuse(i, Malformed, detailName)
	case beforeColon:
		return s.refuse(i, Malformed, detailColon)
	case afterMember:
		return s.refuse(i, Malformed, detailObjectEnd)
	case afterElement:
		return s.refuse(i, Malformed, detailArrayEnd)
	case afterBody, closed:
		return s.refuse(i, Trailing, "")
	default:
		return s.refuse(i, Malformed, detailValue)
	}
}

// begin opens an object (bit 1) or an array (bit 0).
func (s *Scanner) begin(i int, bit uint64, inside state) int {
	if s.depth == MaxDepth {
		return s.refuse(i, TooDeep, "")
	}
	s.depth++
	s.objects = s.objects<<1 | bit
	s.state = inside
	return i + 1
}

// end closes the innermost object or array.
func (s *Scanner) end(i int) int {
	s.depth--
	s.objects >>= 1
	s.state = s.afterValue()
	if s.depth == 0 {
		s.state = afterBody
	}
	return i + 1
}

// afterValue is the state after a value in the innermost object or array.
func (s *Scanner) afterValue() state {
	if s.objects&1 != 0 {
		return afterMember
	}
	return afterElement
}
