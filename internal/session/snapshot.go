package session

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math"
	"time"
)

// A snapshot holds the live sessions of a table. Its layout, all numbers little-endian:
//
//	offset    size
//	0         8     magic "\x89REMORA\n"
//	8         4     version, 1
//	12        4     H, the length of the header, at most MaxHeader
//	16        8     saved: the Instant at which it was written, signed
//	24        H     header: what the caller gave
//	24+H            frames
//	end-32    32    SHA-256 of everything before it
//
// A frame begins with its kind and the length of the rest, 4 bytes each; the rest is at most maxFrame bytes:
//
//	kind 1    names of endpoints, each a service, an address and an incarnation, each of these a 2-byte length and so many
//	          bytes. Endpoints are numbered from 0 in the order of their names in the file, which has at most maxNames
//	          bytes of them
//	kind 2    sessions, 16 bytes each: key 8, number of the endpoint 4, milliseconds since last seen 4 (at most MaxIdle)
//	kind 3    end: how many sessions the file has, 8. It comes once, last
//
// Holds are not saved: the requests that had them end with the process. A held session was last seen when it was saved.
const (
	snapshotMagic   = "\x89REMORA\n"
	snapshotVersion = 1
	snapshotPrefix  = 24

	frameNames    = 1
	frameSessions = 2
	frameEnd      = 3

	maxFrame     = 1 << 19
	fullFrame    = 1 << 16 // bytes at which Save ends a frame
	sessionBytes = 16
	maxNames     = 256 << 20
	maxAge       = int64(MaxIdle / time.Millisecond)
	maxSaved     = 1 << 53 // milliseconds before or after 1970
)

// MaxHeader is the longest header of a snapshot in bytes.
const MaxHeader = 4096

// EndpointName is what an endpoint is called in a snapshot, where an EndpointID would mean nothing to the next process.
type EndpointName struct{ Service, Addr, Incarnation string }

// Save writes the sessions that are live at now and returns how many. header comes back from Load: it is to tell whether
// the snapshot is the caller's, e.g. by a fingerprint of the secret under which keys were hashed. Sessions of endpoints
// that describe does not know are left out. A shard is locked only while it is copied; sessions that are bound or moved
// meanwhile may be missed.
func (t *Table) Save(w io.Writer, header []byte, describe func(EndpointID) (EndpointName, bool), now Instant,
	idle func(EndpointID) time.Duration,
) (sessions int, err error) {
	if len(header) > MaxHeader {
		return 0, fmt.Errorf("session snapshot: header of %d bytes; at most %d are allowed", len(header), MaxHeader)
	}
	sum := sha256.New()
	s := saver{w: io.MultiWriter(w, sum), describe: describe, idle: idle, known: make(map[EndpointID]savedEndpoint)}
	s.begin(header, now)
	var entries []Entry
	for i := range t.shards {
		entries = t.shards[i].entries(entries)
		for _, e := range entries {
			s.add(e, now)
		}
		if s.err != nil {
			break
		}
	}
	s.end(sum)
	return s.total, s.err
}

// saver writes a snapshot: names and sessions are collected and written a frame at a time.
type saver struct {
	w        io.Writer
	describe func(EndpointID) (EndpointName, bool)
	idle     func(EndpointID) time.Duration
	known    map[EndpointID]savedEndpoint
	numbered uint32

	names     []byte // the next frame of names
	nameBytes int    // in the file
	sessions  []byte // the frame of sessions that follows it
	total     int
	err       error
}

type savedEndpoint struct {
	number uint32
	named  bool
	idle   time.Duration
}

func (s *saver) begin(header []byte, now Instant) {
	b := []byte(snapshotMagic)
	b = binary.LittleEndian.AppendUint32(b, snapshotVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	b = binary.LittleEndian.AppendUint64(b, uint64(now))
	s.write(append(b, header...))
}

// add takes a session into the next frame.
func (s *saver) add(e Entry, now Instant) {
	ep, ok := s.known[e.Endpoint]
	if !ok {
		ep = s.meet(e.Endpoint)
	}
	if !ep.named || !e.Live(now, ep.idle) {
		return
	}
	var age int64
	if e.Holds == 0 {
		age = max(0, int64(now-e.LastSeen))
	}
	s.sessions = binary.LittleEndian.AppendUint64(s.sessions, uint64(e.Key))
	s.sessions = binary.LittleEndian.AppendUint32(s.sessions, ep.number)
	s.sessions = binary.LittleEndian.AppendUint32(s.sessions, uint32(age))
	s.total++
	if len(s.sessions) >= fullFrame || len(s.names) >= fullFrame {
		s.flush()
	}
}

// meet asks for the name of an endpoint that no session before was bound to.
func (s *saver) meet(id EndpointID) savedEndpoint {
	var ep savedEndpoint
	var name EndpointName
	if name, ep.named = s.describe(id); ep.named {
		ep.number, ep.idle = s.numbered, s.idle(id)
		s.numbered++
		for _, part := range [...]string{name.Service, name.Addr, name.Incarnation} {
			if s.nameBytes += len(part); len(part) > math.MaxUint16 || s.nameBytes > maxNames {
				s.fail(fmt.Errorf("session snapshot: endpoint %d: the names of endpoints are too long", id))
				break
			}
			s.names = binary.LittleEndian.AppendUint16(s.names, uint16(len(part)))
			s.names = append(s.names, part...)
		}
	}
	s.known[id] = ep
	return ep
}

// flush writes the frames that have something in them, the names first: the sessions refer to them.
func (s *saver) flush() {
	if len(s.names) > 0 {
		s.frame(frameNames, s.names)
	}
	if len(s.sessions) > 0 {
		s.frame(frameSessions, s.sessions)
	}
	s.names, s.sessions = s.names[:0], s.sessions[:0]
}

func (s *saver) end(sum hash.Hash) {
	s.flush()
	s.frame(frameEnd, binary.LittleEndian.AppendUint64(nil, uint64(s.total)))
	s.write(sum.Sum(nil))
}

func (s *saver) frame(kind uint32, content []byte) {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	s.write(binary.LittleEndian.AppendUint32(b, uint32(len(content))))
	s.write(content)
}

func (s *saver) write(b []byte) {
	if s.err != nil {
		return
	}
	if _, err := s.w.Write(b); err != nil {
		s.fail(fmt.Errorf("session snapshot: %w", err))
	}
}

func (s *saver) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}
