package extproc_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/doortest"
)

func TestAWebSocketHoldsItsSessionUntilItEnds(t *testing.T) {
	for _, headers := range []struct{ name, more string }{
		{"an ordinary handshake", ""},
		{"a handshake that says its body is JSON, and has none", "Content-Type: application/json\r\n"},
	} {
		for _, mode := range bodyModes {
			t.Run(headers.name+", "+mode.name, func(t *testing.T) {
				d := newDoor(t, doortest.Config([]string{replica(t, echo), replica(t, echo)}), mode.change...)
				holdWithAWebSocket(t, d, headers.more)
			})
		}
	}
}

// holdWithAWebSocket opens a WebSocket with more headers than it must have, and ends it.
func holdWithAWebSocket(t *testing.T, d *door, more string) {
	t.Helper()
	conn, r := d.dial(t)
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: door\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n%starget: backend-1\r\nx-user: ann\r\n\r\n", more)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("got %v, %v", resp, err)
	}
	for _, word := range []string{"one", "two"} {
		io.WriteString(conn, word)
		back := make([]byte, len(word))
		if _, err := io.ReadFull(r, back); err != nil || string(back) != word {
			t.Fatalf("got %q back, %v", back, err)
		}
		d.pass(5 * time.Minute)
		d.waitInFlight(t, 1)
	}
	if got := d.session(t); got != "existing" {
		t.Errorf("beside the WebSocket the session is %s", got)
	}
	d.waitInFlight(t, 1)
	d.pass(5 * time.Minute)
	conn.Close()
	d.waitInFlight(t, 0)
	d.pass(59 * time.Second)
	if got := d.session(t); got != "existing" {
		t.Errorf("59 s after the WebSocket's end the session is %s", got)
	}
	d.waitInFlight(t, 0)
	d.pass(time.Minute)
	if got := d.session(t); got != "new" {
		t.Errorf("a minute after that the session is %s", got)
	}
}

// TestAStreamHoldsItsSessionUntilItEnds is about responses whose body goes on: the client reads to the end, or leaves. In mode
// NONE it must not depend on the response modes that Envoy is configured with.
func TestAStreamHoldsItsSessionUntilItEnds(t *testing.T) {
	const body = `{"target":"backend-1","username":"ann"}`
	requests := []struct{ name, text string }{
		{"decided by its body", fmt.Sprintf("POST / HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\nx-stream: 1\r\nContent-Length: %d\r\n\r\n%s", len(body), body)},
		{"without a body", "GET / HTTP/1.1\r\nHost: door\r\ntarget: backend-1\r\nx-user: ann\r\nx-stream: 1\r\n\r\n"},
		{"with a body that is not read", "POST / HTTP/1.1\r\nHost: door\r\ntarget: backend-1\r\nx-user: ann\r\nx-stream: 1\r\nContent-Length: 3\r\n\r\nabc"},
	}
	responses := func(headers, trailers string) []string {
		return []string{"response_header_mode: SKIP", "response_header_mode: " + headers, "response_trailer_mode: SEND", "response_trailer_mode: " + trailers}
	}
	for _, modes := range []struct {
		name   string
		change []string
	}{
		{"NONE", nil},
		{"NONE, response headers sent, no trailers", responses("SEND", "SKIP")},
		{"NONE, response headers not sent, no trailers", responses("SKIP", "SKIP")},
		{"BUFFERED", []string{bodyMode, "request_body_mode: BUFFERED"}},
		{"FULL_DUPLEX_STREAMED", fullDuplex},
		{"FULL_DUPLEX_STREAMED for requests, response trailers sent", fullDuplex[:2]},
		{"FULL_DUPLEX_STREAMED for requests, response headers sent", fullDuplex[:4]},
	} {
		ends := make(chan chan struct{}, 1)
		stream := func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Stream") == "" {
				echo(w, r)
				return
			}
			io.Copy(io.Discard, r.Body)
			end := make(chan struct{})
			ends <- end
			io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
			select {
			case <-end:
			case <-r.Context().Done():
			}
		}
		d := newDoor(t, doortest.Config([]string{replica(t, stream), replica(t, stream)}), modes.change...)
		for _, request := range requests {
			for _, leaves := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, client leaves %v, %s", request.name, leaves, modes.name), func(t *testing.T) {
					d.pass(time.Hour)
					conn, r := d.dial(t)
					io.WriteString(conn, request.text)
					resp, err := http.ReadResponse(r, nil)
					if err != nil || resp.StatusCode != http.StatusOK {
						t.Fatalf("got %v, %v", resp, err)
					}
					if _, err := io.ReadFull(resp.Body, make([]byte, len("begun"))); err != nil {
						t.Fatal(err)
					}
					d.pass(5 * time.Minute)
					if got := d.session(t); got != "existing" {
						t.Errorf("beside the stream the session is %s", got)
					}
					d.waitInFlight(t, 1)
					d.pass(5 * time.Minute)
					if end := <-ends; leaves {
						conn.Close()
					} else {
						close(end)
						if _, err := io.ReadAll(resp.Body); err != nil {
							t.Fatal(err)
						}
					}
					d.waitInFlight(t, 0)
					d.pass(59 * time.Second)
					if got := d.session(t); got != "existing" {
						t.Errorf("59 s after the stream's end the session is %s", got)
					}
					d.waitInFlight(t, 0)
				})
			}
		}
	}
}
