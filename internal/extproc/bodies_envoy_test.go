package extproc_test

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/doortest"
)

// patienceForBodies is how long a request with a large body may take on a machine under load.
const patienceForBodies = time.Minute

const mega = 1 << 20

// report is a replica that says what it got, and then as many bytes as the header x-want asks for.
func report(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	fmt.Fprintf(w, "%d %x %s %s %v\n", n, sum.Sum(nil), r.Header.Get("Target"), r.Header.Get("X-User"), err)
	if want, err := strconv.Atoi(r.Header.Get("X-Want")); err == nil {
		io.CopyN(w, letters{}, int64(want))
	}
}

// letters is an endless text.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// upload is a request with a body, and what must come of it in each mode.
type upload struct {
	name    string
	headers string // each line with LF
	body    string
	chunked bool
	want    string // "target user", or status and problem code
	duplex  bool   // only for FULL_DUPLEX_STREAMED
}

// TestUploads is about bodies that Envoy could not buffer. Not in mode BUFFERED, in which Envoy buffers what arrives before the answer
// to the headers, whatever that will be, and answers with 413 when it is faster. And not with a JSON body over Envoy's limit that has
// no length: before the body is asked for, it may have stopped at the limit, and Envoy asks the client for no more.
func TestUploads(t *testing.T) {
	const (
		asJSON  = "Content-Type: application/json\n"
		asBytes = "Content-Type: application/octet-stream\n"
		bob     = "target: backend-1\nx-user: bob\n"
		ann     = `{"target":"backend-1","username":"ann"}`
		await   = "Expect: 100-continue\n"
	)
	sized := func(n int) string { return ann[:len(ann)-1] + `,"pad":"` + strings.Repeat("x", n-len(ann)-9) + `"}` }
	uploads := []upload{
		{name: "2 MB that are not JSON", headers: asBytes + bob, body: strings.Repeat("b", 2*mega), want: "backend-1 bob"},
		{name: "2 MB that are not JSON, chunked", headers: asBytes + bob, body: strings.Repeat("b", 2*mega), chunked: true, want: "backend-1 bob"},
		{name: "20 MB that are not JSON", headers: asBytes + bob, body: strings.Repeat("b", 20*mega), want: "backend-1 bob"},
		{name: "2 MB of JSON and a routing header", headers: asJSON + bob, body: sized(2 * mega), want: "backend-1 bob"},
		{name: "20 MB of JSON and a routing header", headers: asJSON + bob, body: sized(20 * mega), want: "backend-1 bob"},
		{name: "2 MB of JSON without a routing header", headers: asJSON, body: sized(2 * mega), want: "413 body_too_large"},
		{
			name: "2 MB of JSON and a routing header, chunked", headers: asJSON + bob, body: sized(2 * mega), chunked: true, want: "backend-1 bob",
			duplex: true,
		},
		{
			name: "2 MB of JSON without a routing header, chunked", headers: asJSON, body: sized(2 * mega), chunked: true, want: "413 body_too_large",
			duplex: true,
		},
		{name: "100 KB of JSON and a routing header, chunked", headers: asJSON + bob, body: sized(100_000), chunked: true, want: "backend-1 bob"},
		{name: "100 KB of JSON without a routing header, chunked", headers: asJSON, body: sized(100_000), chunked: true, want: "413 body_too_large"},
		{name: "60 KB of JSON in many chunks", headers: asJSON, body: sized(60_000), chunked: true, want: "backend-1 ann"},
		{name: "gzip is not read, however large", headers: asJSON + "Content-Encoding: gzip\n" + bob, body: "\x1f\x8b" + strings.Repeat("z", mega), want: "backend-1 bob"},
		{name: "gzip without a routing header", headers: asJSON + "Content-Encoding: gzip\n", body: "\x1f\x8b" + strings.Repeat("z", mega), want: "404 no_route"},
		{name: "an empty body", headers: asJSON + bob, want: "backend-1 bob"},
		{name: "an empty body, chunked", headers: asJSON + bob, chunked: true, want: "backend-1 bob"},
		{name: "a body that the client asks about first", headers: asJSON + await, body: ann, want: "backend-1 ann"},
		{name: "a chunked one", headers: asJSON + await, body: ann, chunked: true, want: "backend-1 ann"},
		{name: "one that need not be read", headers: asBytes + bob + await, body: strings.Repeat("b", 2*mega), want: "backend-1 bob"},
		{name: "one that is too large", headers: asJSON + await, body: sized(2 * mega), want: "413 body_too_large"},
	}
	for _, mode := range bodyModes {
		if mode.name == "BUFFERED" {
			continue
		}
		d := newDoor(t, doortest.Config([]string{replica(t, report)}), mode.change...)
		for i := range uploads {
			u := &uploads[i]
			if u.duplex && mode.name == "NONE" {
				continue
			}
			t.Run(u.name+", "+mode.name, func(t *testing.T) {
				if got := u.send(t, d); got != u.want {
					t.Errorf("got %q, want %q", got, u.want)
				}
				d.waitInFlight(t, 0)
			})
		}
	}
}

// send makes the upload while it reads the response, and checks what the replica says of the body.
func (u *upload) send(t *testing.T, d *door) string {
	t.Helper()
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patienceForBodies)); err != nil {
		t.Fatal(err)
	}
	head := "POST / HTTP/1.1\nHost: door\nx-want: 3000000\n" + u.headers
	if u.chunked {
		head += "Transfer-Encoding: chunked\n\n"
	} else {
		head += fmt.Sprintf("Content-Length: %d\n\n", len(u.body))
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if strings.Contains(u.headers, "100-continue") {
		for _, want := range []string{"HTTP/1.1 100 Continue\r\n", "\r\n"} {
			if line, err := r.ReadString('\n'); err != nil || line != want {
				t.Fatalf("before the body got %q, %v", line, err)
			}
		}
	}
	sent := make(chan struct{})
	go func() { // ends early where the response does not wait for the body's end
		defer close(sent)
		u.writeBody(conn)
	}()
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, rest, err := readReport(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-sent
	if resp.StatusCode != http.StatusOK {
		_, code, _ := strings.Cut(first, `"code":"`)
		code, _, _ = strings.Cut(code, `"`)
		return fmt.Sprint(resp.StatusCode, " ", code)
	}
	seen := fmt.Sprintf("%d %x ", len(u.body), sha256.Sum256([]byte(u.body)))
	if !strings.HasPrefix(first, seen) || !strings.HasSuffix(first, " <nil>") || rest != 3_000_000 {
		t.Errorf("the replica saw %q, want %q; it answered with %d bytes more, want 3,000,000", first, seen, rest)
	}
	return strings.TrimSuffix(strings.TrimPrefix(first, seen), " <nil>")
}

func (u *upload) writeBody(w io.Writer) {
	if !u.chunked {
		io.WriteString(w, u.body)
		return
	}
	out := bufio.NewWriterSize(w, 8<<10)
	for rest := u.body; rest != ""; {
		n := min(5000, len(rest))
		fmt.Fprintf(out, "%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	io.WriteString(out, "0\r\n\r\n")
	out.Flush()
}

// readReport reads the first line, and how much follows it.
func readReport(body io.ReadCloser) (first string, rest int64, err error) {
	defer body.Close()
	r := bufio.NewReader(body)
	if first, err = r.ReadString('\n'); errors.Is(err, io.EOF) {
		return first, 0, nil
	}
	if err == nil {
		rest, err = io.Copy(io.Discard, r)
	}
	return strings.TrimSuffix(first, "\n"), rest, err
}

// TestEnvoyIsKilled lets an Envoy die while requests are under way: what they hold is released.
func TestEnvoyIsKilled(t *testing.T) {
	for _, mode := range bodyModes {
		t.Run(mode.name, func(t *testing.T) {
			begun := make(chan struct{}, 2)
			d := newDoor(t, doortest.Config([]string{replica(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				w.(http.Flusher).Flush()
				begun <- struct{}{}
				<-r.Context().Done()
			})}), mode.change...)
			const body = `{"target":"backend-1","username":"ann"}`
			for _, request := range []string{
				"GET / HTTP/1.1\r\nHost: door\r\ntarget: backend-1\r\nx-user: ann\r\n\r\n",
				fmt.Sprintf("POST / HTTP/1.1\r\nHost: door\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
			} {
				conn, _ := d.dial(t)
				io.WriteString(conn, request)
				<-begun
			}
			d.waitInFlight(t, 2)
			d.envoy.Kill(t)
			d.waitInFlight(t, 0)
		})
	}
}
