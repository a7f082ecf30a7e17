package session

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
)

// Loaded says what became of the sessions in a snapshot.
type Loaded struct {
	Sessions int // are in the table now
	Outdated int // were last seen MaxIdle ago or longer, or have been bound anew since
	Unknown  int // are of endpoints that resolve did not want
	Excess   int // are beyond the limit of the table
}

// Load adds the sessions that Save wrote, last seen when they were, but not after now. The whole of r is verified before
// anything is called or added, so on an error nothing was. accept gets the header and may refuse the snapshot; resolve is
// then called for each endpoint and returns its id, or 0 to drop its sessions. A session that the table has already stays
// as it is. Memory is bounded by the limit of the table and by what r has, whatever lengths it claims.
func (t *Table) Load(r io.Reader, accept func(header []byte) error, resolve func(EndpointName) EndpointID, now Instant) (Loaded, error) {
	l := loader{r: bufio.NewReaderSize(r, fullFrame), sum: sha256.New(), now: now, staged: newTable(int(t.max), len(t.shards))}
	if err := l.readAll(); err != nil {
		return Loaded{}, fmt.Errorf("session snapshot: %w", err)
	}
	if err := accept(l.header); err != nil {
		return Loaded{}, fmt.Errorf("session snapshot: %w", err)
	}
	ids := make([]EndpointID, len(l.names))
	for i, name := range l.names {
		if ids[i] = resolve(name); ids[i] != 0 {
			checkEndpoint(ids[i])
		}
	}
	for i := range t.shards {
		t.adopt(&t.shards[i], &l.staged.shards[i], ids, now, &l.loaded)
	}
	return l.loaded, nil
}

// adopt moves the sessions of a staged shard to the shard of the same place.
func (t *Table) adopt(to, from *shard, ids []EndpointID, now Instant, loaded *Loaded) {
	to.mu.Lock()
	defer to.mu.Unlock()
	to.latest = max(to.latest, now)
	for _, s := range from.slots {
		if s.meta == 0 {
			continue
		}
		id := ids[stagedNumber(s.meta)]
		_, there := to.find(s.tag)
		switch {
		case id == 0:
			loaded.Unknown++
		case there:
			loaded.Outdated++
		case !t.reserve():
			loaded.Excess++
		default:
			to.insert(s.tag, s.meta.withEndpoint(id))
			t.live.add(id, 1)
			loaded.Sessions++
		}
	}
	from.mem.free()
	from.slots, from.mem = nil, nil
}

// A staged session has the number of its endpoint in the file, plus 1 because 0 is no endpoint, instead of its id.
func stagedEndpoint(number uint32) EndpointID { return EndpointID(number + 1) }

func stagedNumber(m meta) uint32 { return uint32(m.endpoint()) - 1 }

// loader reads and verifies a snapshot. The sessions wait in a table of their own until the checksum was seen.
type loader struct {
	r      io.Reader
	sum    hash.Hash
	offset int64  // bytes read
	buf    []byte // the last ones
	now    Instant

	saved     Instant
	header    []byte
	names     []EndpointName
	nameBytes int
	sessions  uint64
	staged    *Table
	loaded    Loaded
}

func (l *loader) readAll() error {
	if err := l.readHeader(); err != nil {
		return err
	}
	for {
		b, err := l.read(8)
		if err != nil {
			return err
		}
		kind, length := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if length > maxFrame {
			return l.damaged("a frame of %d bytes", length)
		}
		if b, err = l.read(int(length)); err != nil {
			return err
		}
		switch kind {
		case frameNames:
			err = l.readNames(b)
		case frameSessions:
			err = l.readSessions(b)
		case frameEnd:
			return l.readEnd(b)
		default:
			err = l.damaged("a frame of kind %d", kind)
		}
		if err != nil {
			return err
		}
	}
}

func (l *loader) readHeader() error {
	b, err := l.read(snapshotPrefix)
	if err != nil {
		return err
	}
	if string(b[:8]) != snapshotMagic {
		return errors.New("this is not a snapshot that Remora wrote")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != snapshotVersion {
		return fmt.Errorf("it has version %d and this program reads version %d only: start the program that wrote it, or go without it", v, snapshotVersion)
	}
	n := binary.LittleEndian.Uint32(b[12:])
	l.saved = Instant(binary.LittleEndian.Uint64(b[16:]))
	if n > MaxHeader {
		return l.damaged("a header of %d bytes", n)
	}
	if l.saved < -maxSaved || l.saved > maxSaved {
		return l.damaged("the time %d", l.saved)
	}
	b, err = l.read(int(n))
	l.header = bytes.Clone(b)
	return err
}

func (l *loader) readNames(b []byte) error {
	if l.nameBytes += len(b); l.nameBytes > maxNames {
		return l.damaged("more than %d bytes of names", maxNames)
	}
	for len(b) > 0 {
		var name EndpointName
		for _, part := range [...]*string{&name.Service, &name.Addr, &name.Incarnation} {
			if len(b) < 2 || len(b)-2 < int(binary.LittleEndian.Uint16(b)) {
				return l.damaged("a name that is longer than its frame")
			}
			end := 2 + int(binary.LittleEndian.Uint16(b))
			*part, b = string(b[2:end]), b[end:]
		}
		if l.names = append(l.names, name); len(l.names) == MaxEndpoints {
			return l.damaged("more than %d endpoints", MaxEndpoints-1)
		}
	}
	return nil
}

func (l *loader) readSessions(b []byte) error {
	if len(b)%sessionBytes != 0 {
		return l.damaged("half a session")
	}
	l.sessions += uint64(len(b) / sessionBytes)
	for ; len(b) > 0; b = b[sessionBytes:] {
		key, number, age := Key(binary.LittleEndian.Uint64(b)), binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:])
		if int64(number) >= int64(len(l.names)) {
			return l.damaged("a session of endpoint %d of %d", number, len(l.names))
		}
		if int64(age) > maxAge {
			return l.damaged("a session last seen %d ms before", age)
		}
		if !l.stage(key, number, min(l.now, l.saved-Instant(age))) {
			return l.damaged("the session %016x twice", uint64(key))
		}
	}
	return nil
}

// stage keeps a session until the whole snapshot is verified. It returns false when it has the session already.
func (l *loader) stage(k Key, number uint32, seen Instant) bool {
	tag := mix(k)
	sh := l.staged.shard(tag)
	_, there := sh.find(tag)
	switch {
	case there:
		return false
	case l.now-seen >= Instant(maxAge):
		l.loaded.Outdated++
	case !l.staged.reserve():
		l.loaded.Excess++
	default:
		sh.insert(tag, newMeta(stagedEndpoint(number), 0, seen))
	}
	return true
}

func (l *loader) readEnd(b []byte) error {
	if len(b) != 8 {
		return l.damaged("an end of %d bytes", len(b))
	}
	if n := binary.LittleEndian.Uint64(b); n != l.sessions {
		return l.damaged("%d sessions where the end says %d", l.sessions, n)
	}
	want := l.sum.Sum(nil)
	b, err := l.read(len(want))
	if err != nil {
		return err
	}
	if !bytes.Equal(b, want) {
		return errors.New("it is damaged: its checksum does not fit its content")
	}
	if n, _ := io.ReadFull(l.r, make([]byte, 1)); n != 0 {
		return l.damaged("bytes after the end")
	}
	return nil
}

// read returns the next n bytes, at most maxFrame. They are valid until the next call.
func (l *loader) read(n int) ([]byte, error) {
	if n > cap(l.buf) {
		l.buf = make([]byte, n, max(n, 256))
	}
	b := l.buf[:n]
	got, err := io.ReadFull(l.r, b)
	l.offset += int64(got)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, fmt.Errorf("it is cut off after byte %d", l.offset)
	case err != nil:
		return nil, err
	}
	l.sum.Write(b)
	return b, nil
}

func (l *loader) damaged(format string, a ...any) error {
	return fmt.Errorf("it is damaged: "+format+", before byte %d", append(a, l.offset)...)
}
