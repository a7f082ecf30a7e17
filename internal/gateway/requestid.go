package gateway

import (
	"math/rand/v2"
	"unsafe"

	"github.com/remora-proxy/remora/internal/gateway/http1"
)

// maxRequestID bounds a request id that is taken over from a client.
const maxRequestID = 128

// requestID is what ties a request's traces together: the client's x-request-id, or a random UUID (RFC 9562, version 4), as Envoy
// makes them.
type requestID struct {
	text string // of the client's head, or of buf
	buf  [36]byte
}

// idSource makes ids that do not repeat and need not be secret.
type idSource struct{ rng *rand.ChaCha8 }

// set takes over the request's id, or makes one.
func (id *requestID) set(src *idSource, req *http1.Request) {
	if v, ok := req.Get(http1.XRequestID); ok && saneID(v) {
		id.text = v
		return
	}
	id.generate(src)
}

// saneID reports whether an id can go into logs and headers as it is: 1 to 128 letters, digits and - . _ ~ : / + = @ , characters.
func saneID(s string) bool {
	if s == "" || len(s) > maxRequestID {
		return false
	}
	for i := range len(s) {
		if !idByte[s[i]] {
			return false
		}
	}
	return true
}

var idByte = func() (t [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~:/+=@,") {
		t[c] = true
	}
	return t
}()

func (id *requestID) generate(src *idSource) {
	const hex = "0123456789abcdef"
	hi, lo := src.rng.Uint64(), src.rng.Uint64()
	hi = hi&^(0xf<<12) | 4<<12
	lo = lo&^(3<<62) | 2<<62
	b := &id.buf
	at := 0
	for _, group := range [...]struct {
		v      uint64
		digits int
	}{{hi >> 32, 8}, {hi >> 16, 4}, {hi, 4}, {lo >> 48, 4}, {lo, 12}} {
		if at > 0 {
			b[at] = '-'
			at++
		}
		for shift := (group.digits - 1) * 4; shift >= 0; shift -= 4 {
			b[at] = hex[group.v>>shift&15]
			at++
		}
	}
	id.text = unsafe.String(&b[0], len(b))
}
