package redisstore_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session/shared"
)

func TestDrainedEndpointsAreKept(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	a, b := open(t, redisstore.Options{URL: server.URL()}), open(t, redisstore.Options{URL: server.URL()})
	say := func(on bool, endpoint ...string) {
		t.Helper()
		if err := a.Announce(shared.News{Kind: shared.Drain, Endpoint: [2]string(endpoint), On: on}); err != nil {
			t.Fatal(err)
		}
	}
	say(true, "127.0.0.1:9001", "one")
	say(true, "127.0.0.1:9001", "two")
	say(true, "[::1]:9001", "")
	say(true, "[::1]:9001", "")
	say(false, "127.0.0.1:9001", "two")
	say(false, "127.0.0.1:9002", "never drained")
	want := [][2]string{{"127.0.0.1:9001", "one"}, {"[::1]:9001", ""}}
	if got, err := b.Drained(nil); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if err := a.Announce(shared.News{Kind: shared.Drain, Endpoint: [2]string{strings.Repeat("x", 2000), ""}, On: true}); err == nil {
		t.Error("an endpoint of 2,000 bytes is stored")
	}
}

func TestOfTheDrainedEndpointsTheOldestGoesFirst(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := open(t, redisstore.Options{URL: server.URL()})
	args, at := []string{"HSET", "remora:1:drained"}, now()
	for i := range 4096 {
		args = append(args, string([]byte{0, 2, byte(i >> 8), byte(i), 0, 0}), fmt.Sprint(at))
	}
	args[len(args)/2|1] = fmt.Sprint(at - 1)
	oldest := args[len(args)/2&^1]
	server.Do(args...)
	if err := s.Announce(shared.News{Kind: shared.Drain, Endpoint: [2]string{"newest", ""}, On: true}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Drained(nil)
	if err != nil || len(got) != 4096 {
		t.Fatalf("there are %d, %v", len(got), err)
	}
	var newest bool
	for _, endpoint := range got {
		newest = newest || endpoint[0] == "newest"
		if endpoint[0] == oldest[2:4] {
			t.Errorf("the oldest is still there")
		}
	}
	if !newest {
		t.Errorf("the newest is not there")
	}
}

func TestAMarkThatNoGatewayHasRenewedForADayGoes(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		s := open(t, redisstore.Options{URL: server.URL()})
		begun := now()
		mark := func(name string, age time.Duration) {
			server.Do("HSET", "remora:1:drained", "\x00\x01"+name+"\x00\x00", fmt.Sprint(begun.Add(-age)))
		}
		set := func(name string) time.Duration { // how long ago
			var at int64
			if _, err := fmt.Sscan(server.Do("HGET", "remora:1:drained", "\x00\x01"+name+"\x00\x00"), &at); err != nil {
				t.Fatal(name, err)
			}
			return time.Duration(int64(begun)-at) * time.Millisecond
		}
		mark("a", 23*time.Hour)
		mark("b", 25*time.Hour)
		mark("c", 25*time.Hour)
		mark("d", 30*time.Minute)
		server.Full(true)
		known := [][2]string{{"b", ""}, {"d", ""}, {"e", ""}, {strings.Repeat("x", 2000), ""}}
		want := [][2]string{{"a", ""}, {"b", ""}, {"d", ""}}
		for range 2 {
			if got, err := s.Drained(known); err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("got %q, %v; want %q", got, err, want)
			}
		}
		if n := server.Do("HLEN", "remora:1:drained"); n != "3" {
			t.Errorf("there are %s", n)
		}
		if a, b, d := set("a"), set("b"), set("d"); a != 23*time.Hour || b > 0 || d != 30*time.Minute {
			t.Errorf("they are %v, %v and %v old; the second one was to be renewed", a, b, d)
		}
	})
}
