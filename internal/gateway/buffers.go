package gateway

import "github.com/remora-proxy/remora/internal/gateway/http1"

// smallBuffer is the size of the buffers that messages pass through: a head and the body of an ordinary request fit.
const smallBuffer = 16 << 10

// headRoom is what the gateway may add to a head: promoted fields, what it says of itself and the session, a cookie.
const headRoom = 12 << 10

// Bounds of what a worker keeps for reuse; what is over them goes to the garbage collector.
const (
	spareSmall = 1024
	spareLarge = 32
)

// largeBuffer is the size of the other buffers: the largest head fits, with a long path in it that is escaped and a long host
// that is said twice; and a large body takes few system calls.
func largeBuffer(lim *http1.Limits) int { return max(64<<10, 3*maxHead(lim)+headRoom) }

func maxHead(lim *http1.Limits) int {
	if lim.MaxHead == 0 {
		return http1.DefaultMaxHead
	}
	return lim.MaxHead
}

// restRoom is how long the rest of a chunked body that waits for more bytes can become (see http1.Body.Next): its longest
// size line or trailer section.
func restRoom(lim *http1.Limits) int {
	trailer, extensions := lim.MaxTrailer, lim.MaxChunkExtensions
	if trailer == 0 {
		trailer = http1.DefaultMaxTrailer
	}
	if extensions == 0 {
		extensions = http1.DefaultMaxChunkExtensions
	}
	return max(trailer, extensions) + 64
}

// buffers is a worker's stock of buffers, in two sizes. An idle connection has none.
type buffers struct {
	small, large [][]byte
	largeSize    int
	inUse        int // handed out and not returned
}

// get gives an empty buffer of the small size.
func (b *buffers) get() []byte {
	b.inUse++
	if n := len(b.small); n > 0 {
		buf := b.small[n-1]
		b.small = b.small[:n-1]
		return buf
	}
	return make([]byte, 0, smallBuffer)
}

// getLarge gives an empty buffer of the large size.
func (b *buffers) getLarge() []byte {
	b.inUse++
	if n := len(b.large); n > 0 {
		buf := b.large[n-1]
		b.large = b.large[:n-1]
		return buf
	}
	return make([]byte, 0, b.largeSize)
}

// getFor gives an empty buffer that size bytes fit in.
func (b *buffers) getFor(size int) []byte {
	if size <= smallBuffer {
		return b.get()
	}
	return b.getLarge()
}

// put takes a buffer back, whatever became of its length. nil is nothing.
func (b *buffers) put(buf []byte) {
	if cap(buf) == 0 {
		return
	}
	b.inUse--
	switch {
	case cap(buf) == smallBuffer && len(b.small) < spareSmall:
		b.small = append(b.small, buf[:0])
	case cap(buf) == b.largeSize && len(b.large) < spareLarge:
		b.large = append(b.large, buf[:0])
	}
}

// growOut makes room for size more bytes behind those in buf, which may be nil.
func (b *buffers) growOut(buf []byte, size int) []byte {
	switch {
	case buf == nil:
		return b.getFor(size)
	case cap(buf)-len(buf) >= size:
		return buf
	}
	grown := append(b.getLarge(), buf...)
	b.put(buf)
	return grown
}

// growIn makes room behind the bytes from *r on, which move to the start of the buffer; it becomes a large one when they are
// there already.
func (b *buffers) growIn(buf []byte, r *int) []byte {
	rest := buf[*r:]
	if *r > 0 {
		*r = 0
		return append(buf[:0], rest...)
	}
	grown := append(b.getLarge(), rest...)
	b.put(buf)
	return grown
}
