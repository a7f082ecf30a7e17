package rpc

import (
	"io"
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

// converse gives a server bytes after a good beginning, and waits until it has done with them. Whatever they are, every stream that began
// must end, and nothing be held.
func converse(t *testing.T, said []byte) {
	s := newServed(config())
	register(s.Server)
	here, there := net.Pipe()
	s.begin(there)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		io.Copy(io.Discard, here)
	}()
	io.WriteString(here, http2.ClientPreface)
	here.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0})
	here.Write(said) // fails when the server has hung up
	here.Close()
	<-heard
	s.Close()
	s.checkEnd(t)
}

// frames makes frames that are mostly right, out of a source of numbers.
func frames(number func(n int) int) []byte {
	var b []byte
	enc := newClient(nil, nil)
	for range 1 + number(40) {
		id := uint32(number(12))
		switch number(8) {
		case 0, 1:
			block := enc.call([][]string{nil, {":path", "/test.Slow/Echo"}, {":path", "/test.Slow/Forever"}, {"refuse", "no"}, {"te", "x"}}[number(5)]...)
			b = appendFrameHeader(b, http2.FrameHeaders, http2.Flags([]int{4, 4, 4, 5, 0}[number(5)]), id|1, len(block))
			b = append(b, block...)
		case 2, 3, 4:
			p := prefixed([]string{"hi", "twice", "fail", "big 200000", "big 70000", "silent"}[number(6)])
			p = p[:max(0, len(p)-number(3)*number(4))]
			b = appendFrameHeader(b, http2.FrameData, http2.Flags(number(2)), id|1, len(p))
			b = append(b, p...)
		case 5:
			b = append(appendFrameHeader(b, http2.FrameRSTStream, 0, id|1, 4), 0, 0, 0, 8)
		case 6:
			b = append(appendFrameHeader(b, http2.FrameWindowUpdate, 0, id, 4), 0, byte(number(3)), byte(number(256)), 1)
		case 7:
			b = append(appendFrameHeader(b, http2.FrameSettings, 0, 0, 6), 0, 4, 0, byte(number(3)), byte(number(256)), 0)
		}
	}
	return b
}

func TestNothingIsLeftOfAnyConversation(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		b := frames(random.IntN)
		if random.IntN(3) == 0 {
			b[random.IntN(len(b))] ^= 1 << random.IntN(8)
		}
		converse(t, b)
	}
}

func FuzzConversation(f *testing.F) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		f.Add(frames(random.IntN))
	}
	f.Fuzz(converse)
}
