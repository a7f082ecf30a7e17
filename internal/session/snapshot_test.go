package session

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var testHeader = []byte("fingerprint")

// names is a directory of endpoints for Save and Load.
type names map[EndpointID]EndpointName

var testNames = names{
	1: {"cart", "127.0.1.1:8080", ""},
	2: {"cart", "127.0.1.2:8080", "b"},
	3: {"chat", "127.0.2.1:8080", strings.Repeat("x", 65535)},
}

func (n names) describe(id EndpointID) (EndpointName, bool) {
	name, ok := n[id]
	return name, ok
}

func (n names) resolve(name EndpointName) EndpointID {
	for id, nm := range n {
		if nm == name {
			return id
		}
	}
	return 0
}

func accept([]byte) error { return nil }

func saved(t testing.TB, table *Table, now Instant) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := table.Save(&b, testHeader, testNames.describe, now, always(time.Minute)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func contents(table *Table) map[Key]Entry {
	all := map[Key]Entry{}
	table.Range(func(e Entry) bool {
		all[e.Key] = e
		return true
	})
	return all
}

func put(table *Table, k Key, ep EndpointID, seen Instant) {
	table.Bind(k, ep, seen, time.Minute)
	table.Release(k, seen)
}

func TestASnapshotBringsTheLiveSessionsBack(t *testing.T) {
	table := NewTable(Options{})
	want := map[Key]Entry{}
	for k := range Key(20_000) {
		ep, seen := 1+EndpointID(k%3), testNow-Instant(k%60_000)
		put(table, k, ep, seen)
		want[k] = Entry{Key: k, Endpoint: ep, LastSeen: seen}
	}
	put(table, 1e6, 1, testNow-60_000) // expired
	put(table, 1e6+1, 9, testNow)      // of an endpoint without a name
	table.Bind(1e6+2, 2, testNow-1e6, time.Minute)
	want[1e6+2] = Entry{Key: 1e6 + 2, Endpoint: 2, LastSeen: testNow} // held: last seen when saved, and no longer held
	put(table, 1e6+3, 2, testNow+5)
	want[1e6+3] = Entry{Key: 1e6 + 3, Endpoint: 2, LastSeen: testNow} // not after it was saved

	var b bytes.Buffer
	n, err := table.Save(&b, testHeader, testNames.describe, testNow, always(time.Minute))
	if err != nil || n != len(want) {
		t.Fatalf("Save: %d, %v; want %d", n, err, len(want))
	}
	again := NewTable(Options{MaxSessions: 50_000}) // as many shards or fewer
	var header []byte
	loaded, err := again.Load(iotest.OneByteReader(&b), func(h []byte) error { header = h; return nil }, testNames.resolve, testNow+1000)
	if err != nil || loaded != (Loaded{Sessions: len(want)}) || !bytes.Equal(header, testHeader) {
		t.Fatalf("Load: %+v, %v, header %q", loaded, err, header)
	}
	if got := contents(again); !maps.Equal(got, want) {
		t.Fatalf("got %d sessions; want %d", len(got), len(want))
	}
	live := map[EndpointID]int{}
	for _, e := range want {
		live[e.Endpoint]++
	}
	for ep := range EndpointID(10) {
		if again.Live(ep) != live[ep] {
			t.Errorf("Live(%d) = %d; want %d", ep, again.Live(ep), live[ep])
		}
	}
	if again.Len() != len(want) {
		t.Errorf("Len() = %d; want %d", again.Len(), len(want))
	}
	for i := range again.shards {
		again.shards[i].wellFormed(t)
	}
}

// TestTheLayoutOfASnapshot writes one by hand, from the description of the layout alone.
func TestTheLayoutOfASnapshot(t *testing.T) {
	table := NewTable(Options{})
	put(table, 0x1122334455667788, 2, testNow-256)
	le := binary.LittleEndian
	want := []byte("\x89REMORA\n")
	want = le.AppendUint32(want, 1)
	want = le.AppendUint32(want, 11)
	want = le.AppendUint64(want, 1_800_000_000_000)
	want = append(want, "fingerprint"...)
	want = le.AppendUint32(le.AppendUint32(want, 1), 25)
	want = append(want, "\x04\x00cart\x0e\x00127.0.1.2:8080\x01\x00b"...)
	want = le.AppendUint32(le.AppendUint32(want, 2), 16)
	want = append(want, "\x88\x77\x66\x55\x44\x33\x22\x11\x00\x00\x00\x00\x00\x01\x00\x00"...)
	want = le.AppendUint32(le.AppendUint32(want, 3), 8)
	want = le.AppendUint64(want, 1)
	sum := sha256.Sum256(want)
	want = append(want, sum[:]...)
	if got := saved(t, table, testNow); !bytes.Equal(got, want) {
		t.Errorf("got\n%x\nwant\n%x", got, want)
	}
}

func TestLoadedSessionsThatDoNotFitAnyMore(t *testing.T) {
	table := NewTable(Options{})
	for k := range Key(100) {
		put(table, k, 1+EndpointID(k%2), testNow-Instant(k))
	}
	snapshot := saved(t, table, testNow)
	load := func(into *Table, resolve func(EndpointName) EndpointID, now Instant, want Loaded) {
		t.Helper()
		if got, err := into.Load(bytes.NewReader(snapshot), accept, resolve, now); err != nil || got != want {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
		if into.Len() != into.Live(1)+into.Live(2)+into.Live(5) {
			t.Errorf("%d sessions, live %d, %d, %d", into.Len(), into.Live(1), into.Live(2), into.Live(5))
		}
	}
	t.Run("beyond the limit are counted and dropped", func(*testing.T) {
		load(NewTable(Options{MaxSessions: 30}), testNames.resolve, testNow, Loaded{Sessions: 30, Excess: 70})
	})
	t.Run("of endpoints that are gone are counted and dropped", func(*testing.T) {
		load(NewTable(Options{}), names{2: testNames[2]}.resolve, testNow, Loaded{Sessions: 50, Unknown: 50})
	})
	t.Run("last seen too long ago are counted and dropped", func(*testing.T) {
		late := testNow.Add(MaxIdle) - 50
		load(NewTable(Options{}), testNames.resolve, late, Loaded{Sessions: 50, Outdated: 50})
	})
	t.Run("from ahead of the clock are last seen now", func(t *testing.T) {
		into := NewTable(Options{})
		load(into, testNames.resolve, testNow-1e6, Loaded{Sessions: 100})
		if e, ok := into.Peek(3, testNow-1e6, time.Minute); !ok || e.LastSeen != testNow-1e6 {
			t.Errorf("got %+v, %v", e, ok)
		}
	})
	t.Run("bound anew before stay as they are", func(t *testing.T) {
		into := NewTable(Options{})
		into.Bind(3, 5, testNow+7, time.Minute)
		load(into, testNames.resolve, testNow, Loaded{Sessions: 99, Outdated: 1})
		if e, ok := into.Peek(3, testNow+7, time.Minute); !ok || e != (Entry{Key: 3, Endpoint: 5, LastSeen: testNow + 7, Holds: 1}) {
			t.Errorf("got %+v, %v", e, ok)
		}
	})
}

// refused expects that the snapshot is refused with an error that says want, and that nothing was asked or loaded.
func refused(t *testing.T, snapshot []byte, want string) {
	t.Helper()
	table := NewTable(Options{MaxSessions: 1000})
	resolve := func(EndpointName) EndpointID {
		t.Error("resolve was called before the snapshot was verified")
		return 1
	}
	asked := func([]byte) error {
		t.Error("accept was called before the snapshot was verified")
		return nil
	}
	loaded, err := table.Load(bytes.NewReader(snapshot), asked, resolve, testNow)
	if err == nil || !strings.HasPrefix(err.Error(), "session snapshot: ") || !strings.Contains(err.Error(), want) {
		t.Errorf("got the error %v; want %q", err, want)
	}
	if loaded != (Loaded{}) || table.Len() != 0 {
		t.Errorf("%+v was loaded", loaded)
	}
}

func smallSnapshot(t testing.TB) []byte {
	t.Helper()
	table := NewTable(Options{})
	for k := range Key(5) {
		put(table, k, 1+EndpointID(k%2), testNow-Instant(k))
	}
	return saved(t, table, testNow)
}

func TestASnapshotCutOffAnywhereIsRefused(t *testing.T) {
	whole := smallSnapshot(t)
	for n := range whole {
		refused(t, whole[:n], fmt.Sprintf("it is cut off after byte %d", n))
	}
}

func TestASnapshotWithAnyBitFlippedIsRefused(t *testing.T) {
	whole := smallSnapshot(t)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			refused(t, b, "")
		}
	}
}

// sealed appends the checksum.
func sealed(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(bytes.Clone(b), sum[:]...)
}

func TestAForeignOrHostileSnapshotIsRefused(t *testing.T) {
	whole := smallSnapshot(t)
	le := binary.LittleEndian
	prefix := func(version, header uint32, saved int64) []byte {
		b := []byte(snapshotMagic)
		b = le.AppendUint32(b, version)
		b = le.AppendUint32(b, header)
		return le.AppendUint64(b, uint64(saved))
	}
	begin := prefix(1, 0, int64(testNow))
	frame := func(before []byte, kind uint32, content string) []byte {
		b := le.AppendUint32(bytes.Clone(before), kind)
		b = le.AppendUint32(b, uint32(len(content)))
		return append(b, content...)
	}
	name := frame(begin, frameNames, "\x01\x00s\x01\x00a\x00\x00")
	nameless := begin
	for range 1 + MaxEndpoints*6/maxFrame {
		nameless = frame(nameless, frameNames, strings.Repeat("\x00", maxFrame/6*6))
	}
	session := func(key, number, age uint32) string {
		b := le.AppendUint64(nil, uint64(key))
		b = le.AppendUint32(b, number)
		return string(le.AppendUint32(b, age))
	}
	end := func(before []byte, sessions uint64) []byte {
		return sealed(frame(before, frameEnd, string(le.AppendUint64(nil, sessions))))
	}
	for what, c := range map[string]struct {
		snapshot []byte
		want     string
	}{
		"nothing":                          {nil, "cut off after byte 0"},
		"a text":                           {[]byte("apiVersion: networking.istio.io/v1\nkind: Gateway\n"), "not a snapshot that Remora wrote"},
		"a newer version":                  {sealed(prefix(2, 0, 0)), "it has version 2 and this program reads version 1 only"},
		"bytes after the end":              {append(bytes.Clone(whole), 0), "bytes after the end"},
		"two snapshots":                    {append(bytes.Clone(whole), whole...), "bytes after the end"},
		"a header of 4 GiB":                {prefix(1, 1<<32-1, 0), "a header of 4294967295 bytes"},
		"a time that is none":              {sealed(prefix(1, 0, -1<<63)), "the time -9223372036854775808"},
		"an unknown frame":                 {sealed(frame(begin, 4, "")), "a frame of kind 4"},
		"a frame of 4 GiB":                 {append(bytes.Clone(begin), "\x01\x00\x00\x00\xff\xff\xff\xff"...), "a frame of 4294967295 bytes"},
		"more endpoints than there can be": {nameless, "more than 1048575 endpoints"},
		"a name longer than its frame":     {frame(begin, frameNames, "\x02\x00s"), "a name that is longer than its frame"},
		"half a name":                      {frame(begin, frameNames, "\x01\x00s\x00\x00\x00"), "a name that is longer than its frame"},
		"half a session":                   {frame(name, frameSessions, session(1, 0, 0)[:8]), "half a session"},
		"a session of no endpoint":         {end(frame(name, frameSessions, session(1, 1, 0)), 1), "a session of endpoint 1 of 1"},
		"a session older than any can be":  {end(frame(name, frameSessions, session(1, 0, 1<<32-1)), 1), "a session last seen 4294967295 ms before"},
		"a session twice":                  {end(frame(name, frameSessions, session(1, 0, 0)+session(1, 0, 0)), 2), "the session 0000000000000001 twice"},
		"fewer sessions than it says":      {end(frame(name, frameSessions, session(1, 0, 0)), 2), "1 sessions where the end says 2"},
	} {
		t.Run(what, func(t *testing.T) { refused(t, c.snapshot, c.want) })
	}
}

func TestASnapshotThatTheCallerDoesNotAcceptIsNotLoaded(t *testing.T) {
	table := NewTable(Options{})
	foreign := errors.New("keys were hashed under another secret")
	loaded, err := table.Load(bytes.NewReader(smallSnapshot(t)), func([]byte) error { return foreign }, testNames.resolve, testNow)
	if !errors.Is(err, foreign) || loaded != (Loaded{}) || table.Len() != 0 {
		t.Errorf("got %+v, %v, %d sessions", loaded, err, table.Len())
	}
}

type failingWriter int

func (w *failingWriter) Write(b []byte) (int, error) {
	if *w -= failingWriter(len(b)); *w < 0 {
		return 0, errors.New("disk full")
	}
	return len(b), nil
}

func TestASnapshotThatCannotBeWrittenIsAnError(t *testing.T) {
	table := NewTable(Options{})
	put(table, 1, 1, testNow)
	for room := range failingWriter(len(saved(t, table, testNow))) {
		if _, err := table.Save(&room, testHeader, testNames.describe, testNow, always(time.Minute)); err == nil || err.Error() != "session snapshot: disk full" {
			t.Fatalf("got the error %v", err)
		}
	}
	long := names{1: {Service: strings.Repeat("x", 65536)}}
	if _, err := table.Save(&bytes.Buffer{}, nil, long.describe, testNow, always(time.Minute)); err == nil {
		t.Error("a name of 65,536 bytes: no error")
	}
	if _, err := table.Save(&bytes.Buffer{}, make([]byte, MaxHeader+1), testNames.describe, testNow, always(time.Minute)); err == nil {
		t.Error("a header over MaxHeader: no error")
	}
	if _, err := table.Load(iotest.ErrReader(errors.New("bad sector")), accept, testNames.resolve, testNow); err == nil || err.Error() != "session snapshot: bad sector" {
		t.Errorf("a reader that fails: got the error %v", err)
	}
}

func TestATableInUseCanBeSaved(t *testing.T) {
	table := NewTable(Options{})
	for k := range Key(5000) {
		put(table, k, 1+EndpointID(k%3), testNow)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for k := range Key(5000) {
			put(table, 10_000+k, 1, testNow)
			table.Move(k, 1, 2, testNow, time.Minute)
		}
	}()
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		default:
		}
		again := NewTable(Options{})
		if _, err := again.Load(bytes.NewReader(saved(t, table, testNow)), accept, testNames.resolve, testNow); err != nil {
			t.Fatal(err)
		}
		for k := range Key(5000) {
			if _, ok := again.Peek(k, testNow, time.Minute); !ok {
				t.Fatalf("session %d, which was there all the time, is missing", k)
			}
		}
	}
}

// FuzzLoad asserts that whatever is read is either refused with nothing loaded, or says exactly what the table has then.
func FuzzLoad(f *testing.F) {
	whole := smallSnapshot(f)
	f.Add(whole[:len(whole)-sha256.Size])
	f.Add([]byte(snapshotMagic))
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		b := bytes.Clone(whole[:len(whole)-sha256.Size])
		for range 1 + r.IntN(3) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = sealed(b) // so that what lies behind the checksum is reached
		table := NewTable(Options{MaxSessions: 1000})
		ids := names{}
		resolve := func(name EndpointName) EndpointID {
			id := EndpointID(len(ids) + 1)
			ids[id] = name
			return id
		}
		loaded, err := table.Load(bytes.NewReader(b), accept, resolve, testNow)
		if got := contents(table); len(got) != loaded.Sessions || table.Len() != loaded.Sessions {
			t.Fatalf("%+v, and the table has %d sessions, Len %d", loaded, len(got), table.Len())
		}
		if err != nil {
			if loaded != (Loaded{}) {
				t.Fatalf("%+v with the error %v", loaded, err)
			}
			return
		}
		var out bytes.Buffer
		if n, err := table.Save(&out, nil, ids.describe, testNow, always(2*MaxIdle)); err != nil || n != loaded.Sessions {
			t.Fatalf("saving again: %d, %v; want %d", n, err, loaded.Sessions)
		}
		again := NewTable(Options{MaxSessions: 1000})
		second, err := again.Load(&out, accept, ids.resolve, testNow)
		if err != nil || second.Sessions != loaded.Sessions {
			t.Fatalf("loading again: %+v, %v; want %d", second, err, loaded.Sessions)
		}
	})
}
