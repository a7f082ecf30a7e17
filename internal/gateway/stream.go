package gateway

import (
	"syscall"

	"github.com/remora-proxy/remora/internal/gateway/http1"
	"github.com/remora-proxy/remora/internal/gateway/loop"
)

// stream is the transport of a connection: a socket with what is known of its readiness, the bytes that were read and not
// used yet, and those that wait to be written. It is the one place where bytes enter and leave the process; a transport that
// changes them on the way (TLS) goes between it and the socket.
type stream struct {
	src       loop.Source
	canRead   bool // the socket may have bytes, its end, or an error
	canWrite  bool // the socket may have room
	peerDone  bool // the peer has sent FIN
	cannot    bool // writing has failed
	in        []byte
	r         int    // in[r:] was read and is not used yet
	out       []byte // waits to be written, from sent on
	sent      int
	tail      []byte // waits to be written after out; a piece of somebody else's buffer, who leaves it alone meanwhile
	received  uint64 // bytes in all
	delivered uint64
	traffic   *traffic // of all streams of this side
}

// traffic counts bytes.
type traffic struct{ received, delivered uint64 }

// The outcomes of reading.
type outcome uint8

const (
	progress outcome = iota // there are new bytes
	blocked                 // the peer has sent no more; an event will tell
	ended                   // the end of the stream
	failed                  // the connection is broken
	full                    // there is no room in the buffer
)

// note takes over what an event says.
func (s *stream) note(ev loop.Events) {
	if ev&loop.Readable != 0 {
		s.canRead = true
	}
	if ev&loop.Writable != 0 {
		s.canWrite = true
	}
	if ev&loop.PeerDone != 0 {
		s.peerDone = true
	}
}

// fill reads into the free end of the in buffer, once. A read that does not fill it has drained the socket, and needs no second
// one to learn so; unless the end of the stream is known to follow.
func (s *stream) fill() outcome {
	room := s.in[len(s.in):cap(s.in)]
	switch {
	case !s.canRead:
		return blocked
	case len(room) == 0:
		return full
	}
	for {
		n, errno := recv(s.src.FD(), room)
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			s.canRead = false
			return blocked
		case errno != 0:
			return failed
		case n == 0:
			s.peerDone = true
			return ended
		}
		s.canRead = n == len(room) || s.peerDone
		s.in = s.in[:len(s.in)+n]
		s.received += uint64(n)
		s.traffic.received += uint64(n)
		return progress
	}
}

// pending says that bytes wait to be written.
func (s *stream) pending() bool { return s.sent < len(s.out) || len(s.tail) > 0 }

// flush writes what waits. It reports whether nothing waits any more; if not, and the stream can still be written to, an event
// will tell when there is room.
func (s *stream) flush() bool {
	for s.sent < len(s.out) {
		n := s.write(s.out[s.sent:])
		if n == 0 {
			return false
		}
		s.sent += n
	}
	s.out, s.sent = s.out[:0], 0
	for len(s.tail) > 0 {
		n := s.write(s.tail)
		if n == 0 {
			return false
		}
		s.tail = s.tail[n:]
	}
	s.tail = nil
	return true
}

// write writes from p what the socket takes now; 0 when it takes nothing.
func (s *stream) write(p []byte) int {
	for s.canWrite {
		n, errno := send(s.src.FD(), p)
		switch errno {
		case 0:
			s.canWrite = n == len(p)
			s.delivered += uint64(n)
			s.traffic.delivered += uint64(n)
			return n
		case syscall.EINTR:
		case syscall.EAGAIN:
			s.canWrite = false
		default:
			s.canWrite, s.cannot = false, true
		}
	}
	return 0
}

// directSize is from how many bytes on a piece of a body is written from where it was read instead of being copied together
// with what goes before it.
const directSize = 4 << 10

// chunkOverhead is what a chunk adds to its data at most, in a buffer of this package: 5 digits and 2 CRLF.
const chunkOverhead = 9

// pour puts as much of a body's piece as there is room for behind what waits to be written, and returns the rest. After a
// piece that is not copied nothing must be poured before it is written.
func (s *stream) pour(piece []byte, chunked bool) (rest []byte) {
	room := cap(s.out) - len(s.out)
	if chunked {
		n := min(max(room-chunkOverhead, 0), len(piece))
		s.out = http1.AppendChunk(s.out, piece[:n])
		return piece[n:]
	}
	if len(piece) >= directSize {
		s.tail = piece
		return nil
	}
	n := min(room, len(piece))
	s.out = append(s.out, piece[:n]...)
	return piece[n:]
}
