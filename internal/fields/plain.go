package fields

import (
	"encoding/binary"
	"math/bits"
)

// plainEnd is the index of the first byte of p, from i on, that is not plain in a string: a quote, a backslash, a control
// character below U+0020, or a byte of a character outside ASCII. It is len(p) when all are plain.
func plainEnd(p []byte, i int) int {
	for ; i+8 <= len(p); i += 8 {
		if special := notPlain(binary.LittleEndian.Uint64(p[i:])); special != 0 {
			return i + bits.TrailingZeros64(special)/8
		}
	}
	for i < len(p) && plain[p[i]] {
		i++
	}
	return i
}

// notPlain sets the highest bit of each byte of the word that is not plain. Subtracting borrows from the next byte, so that
// bytes above one that is not plain can be marked in error; the lowest mark is right.
func notPlain(word uint64) uint64 {
	const (
		each  = 0x0101010101010101
		high  = each * 0x80
		quote = each * '"'
		slash = each * '\\'
	)
	control := word - each*' '
	return (word | control | ((word ^ quote) - each) | ((word ^ slash) - each)) & high
}

// plain tells the bytes that plainEnd passes over.
var plain = func() (table [256]bool) {
	for c := ' '; c < 0x80; c++ {
		table[c] = c != '"' && c != '\\'
	}
	return table
}()
