package http1

import (
	"bytes"
	"math/bits"

	"github.com/remora-proxy/remora/internal/route"
)

// chunked is Next for the chunked coding (RFC 9112, 7.1).
func (b *Body) chunked(buf []byte) (Piece, *Error) {
	switch b.state {
	case chunkSize:
		return b.sizeLine(buf)
	case chunkLineEnd:
		if len(buf) < 2 {
			return Piece{}, nil
		}
		return b.afterSize(buf, 0)
	case chunkData:
		return b.data(buf, 0)
	case chunkEnd:
		n, err := b.chunkCRLF(buf, 0)
		return Piece{N: n, Raw: buf[:n]}, err
	}
	n, err := b.trailerSection(buf, 0)
	return Piece{N: n}, err
}

const maxSizeDigits = 16

// sizeLine reads a size line. It takes nothing before the line is complete.
func (b *Body) sizeLine(buf []byte) (Piece, *Error) {
	size := uint64(0)
	i := 0
	for i < len(buf) {
		d := hexValue[buf[i]]
		if d > 15 {
			break
		}
		if i == maxSizeDigits || size>>59 != 0 {
			return Piece{}, errChunkSize
		}
		size = size<<4 | uint64(d)
		i++
	}
	if i == len(buf) {
		return Piece{}, nil
	}
	if i == 0 {
		return Piece{}, errChunkSize
	}
	digits := i
	if c := buf[i]; c != '\r' {
		if c != ';' { // whitespace before it, which the grammar allows, many readers refuse
			return Piece{}, errChunkSize
		}
		n, err := b.extension(buf[i:])
		if n == 0 {
			return Piece{}, err
		}
		i += n
	} else if i+1 == len(buf) {
		return Piece{}, nil
	}
	b.left = int64(size)
	if i > digits && size > 0 {
		b.state = chunkLineEnd
		return Piece{N: i, Raw: buf[:digits]}, nil
	}
	return b.afterSize(buf, i)
}

// afterSize takes the CRLF of a size line at i and what follows.
func (b *Body) afterSize(buf []byte, i int) (Piece, *Error) {
	if buf[i] != '\r' || buf[i+1] != '\n' {
		return Piece{}, errChunkSize
	}
	i += 2
	if b.left > 0 {
		return b.data(buf, i)
	}
	b.state = trailers
	n, err := b.trailerSection(buf, i)
	return Piece{N: i + n}, err
}

// data takes the data of a chunk from i on, and the CRLF behind it when it is there.
func (b *Body) data(buf []byte, i int) (Piece, *Error) {
	rest := buf[i:]
	if int64(len(rest)) < b.left {
		b.state = chunkData
		b.left -= int64(len(rest))
		return Piece{N: len(buf), Data: rest, Raw: buf}, nil
	}
	rest = rest[:b.left]
	b.left = 0
	n := i + len(rest)
	end, err := b.chunkCRLF(buf, n)
	if err != nil {
		return Piece{}, err
	}
	n += end
	return Piece{N: n, Data: rest, Raw: buf[:n]}, nil
}

// chunkCRLF takes the CRLF at i behind the data of a chunk; n is 0 when it is not complete.
func (b *Body) chunkCRLF(buf []byte, i int) (n int, err *Error) {
	b.state = chunkEnd
	if i < len(buf) && buf[i] != '\r' || i+1 < len(buf) && buf[i+1] != '\n' {
		return 0, errChunkEnd
	}
	if i+1 >= len(buf) {
		return 0, nil
	}
	b.state = chunkSize
	return 2, nil
}

// extension checks the chunk extensions at the start of buf, up to the CR of the line. n is 0 when the line is not complete.
func (b *Body) extension(buf []byte) (n int, err *Error) {
	room := b.lim.chunkExtensions() - b.extra
	n = bytes.IndexByte(buf[:min(len(buf), room+2)], '\n')
	if n < 0 {
		if len(buf) >= room+2 {
			return 0, errExtensionsLong
		}
		return 0, nil
	}
	if n == 0 || buf[n-1] != '\r' || !validExtensions(view(buf[:n-1])) {
		return 0, errChunkExtension
	}
	b.extra += n - 1
	return n - 1, nil
}

// validExtensions checks s against chunk-ext (RFC 9112, 7.1.1).
func validExtensions(s string) bool {
	for s != "" {
		if s = trimLeft(s); s == "" || s[0] != ';' {
			return false
		}
		var ok bool
		if s, ok = cutToken(trimLeft(s[1:])); !ok {
			return false
		}
		after := trimLeft(s)
		if after == "" || after[0] != '=' {
			continue
		}
		if s = trimLeft(after[1:]); s != "" && s[0] == '"' {
			s, ok = cutQuoted(s)
		} else {
			s, ok = cutToken(s)
		}
		if !ok {
			return false
		}
	}
	return true
}

func trimLeft(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	return s
}

func cutToken(s string) (rest string, ok bool) {
	i := 0
	for i < len(s) && tokenLower[s[i]] != 0 {
		i++
	}
	return s[i:], i > 0
}

// cutQuoted cuts a quoted-string (RFC 9110, 5.6.4).
func cutQuoted(s string) (rest string, ok bool) {
	for i := 1; i < len(s); i++ {
		c := s[i]
		if c == '"' {
			return s[i+1:], true
		}
		if c == '\\' {
			if i++; i == len(s) {
				return "", false
			}
			c = s[i]
		}
		if c < 0x20 && c != '\t' || c == 0x7f {
			return "", false
		}
	}
	return "", false
}

// trailerSection reads the trailer section at i. n is 0 when it is not complete.
func (b *Body) trailerSection(buf []byte, i int) (n int, err *Error) {
	maxTrailer := b.lim.trailer()
	buf = buf[i:min(len(buf), i+maxTrailer)]
	s := &b.trailer
	if s.base == nil && len(buf) >= len(crlf) && buf[0] == '\r' && buf[1] == '\n' {
		b.state = bodyDone // as nearly always
		return len(crlf), nil
	}
	s.move(buf)
	if s.resume(buf) {
		if err := s.parse(buf, b.lim.fields()); err != nil {
			return 0, err
		}
	}
	if s.size == 0 {
		if len(buf) == maxTrailer {
			return 0, errTrailerLong
		}
		return 0, nil
	}
	b.state = bodyDone
	if len(s.Fields) > 0 {
		if s.seen&framingFields != 0 {
			return 0, errTrailerField
		}
		b.filterTrailers()
		b.Trailers = s.Fields
	}
	return s.size, nil
}

// framingFields in a trailer section are meant for a reader who takes it for the header section.
var framingFields = setOf(ContentLength, TransferEncoding, Host)

// filterTrailers drops the fields that mean something before the body only (RFC 9110, 6.5.1): a reader who merges trailers
// into the header section would let them override what the gateway decided by.
func (b *Body) filterTrailers() {
	b.trailer.keep(func(kind Field, name string) bool {
		if kind != OtherField || protected(name) {
			return false
		}
		switch name {
		case "age", "expires", "location", "max-forwards", "pragma", "retry-after", "vary", "warning", "www-authenticate",
			"content-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range":
			return false
		}
		for _, p := range b.lim.Protected {
			if p == name {
				return false
			}
		}
		return true
	})
}

// AppendChunk appends one chunk with data. It appends nothing for empty data, which would end the body.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	n := uint(len(data))
	for shift := (bits.Len(n) - 1) / 4 * 4; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[n>>shift&15])
	}
	dst = append(dst, '\r', '\n')
	dst = append(dst, data...)
	return append(dst, '\r', '\n')
}

// AppendLastChunk appends the last chunk and the trailer section, and so ends a chunked body.
func AppendLastChunk(dst []byte, trailers []route.Header) []byte {
	dst = append(dst, "0\r\n"...)
	for _, t := range trailers {
		dst = appendField(dst, t.Name, t.Value)
	}
	return append(dst, '\r', '\n')
}
