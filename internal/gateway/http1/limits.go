package http1

import "math"

// Defaults of Limits.
const (
	DefaultMaxHead            = 32 << 10
	DefaultMaxRequestLine     = 8 << 10
	DefaultMaxFields          = 100
	DefaultMaxTrailer         = 8 << 10
	DefaultMaxChunkExtensions = 4 << 10
)

// Limits bound what one message may make the gateway hold or do. A zero number means its default. A Limits is read only and
// can be shared.
type Limits struct {
	MaxHead            int // bytes of a head with its last empty line; over it: 431 (502 for a response)
	MaxRequestLine     int // bytes of the request line with its CRLF; over it: 414
	MaxFields          int // fields of a header or trailer section; over it: 431 (502)
	MaxTrailer         int // bytes of a trailer section with its last empty line
	MaxChunkExtensions int // bytes of all chunk extensions of one body together

	// Protected are names of header fields, in lower case, that a client may not name in Connection: a request that does is
	// refused. Fields that HTTP itself needs are protected always. What routing and sessions read belongs here.
	Protected []string
}

var defaultLimits Limits

func (l *Limits) head() int        { return orDefault(l.MaxHead, DefaultMaxHead) }
func (l *Limits) requestLine() int { return orDefault(l.MaxRequestLine, DefaultMaxRequestLine) }
func (l *Limits) fields() int      { return min(orDefault(l.MaxFields, DefaultMaxFields), math.MaxUint16) }
func (l *Limits) trailer() int     { return orDefault(l.MaxTrailer, DefaultMaxTrailer) }
func (l *Limits) chunkExtensions() int {
	return orDefault(l.MaxChunkExtensions, DefaultMaxChunkExtensions)
}

func orDefault(n, def int) int {
	if n == 0 {
		return def
	}
	return n
}
