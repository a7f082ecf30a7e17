package samplebackend

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var replica = Config{Service: "backend-1", Name: "backend-1-abcde", IP: "127.0.1.1"}

// hit sends one request to a handler and returns its status and JSON.
func hit(t *testing.T, h http.Handler, target, body string, headers ...string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Code, decode(t, w.Result())
}

// decode reads an answer, which is JSON whatever its status.
func decode(t *testing.T, r *http.Response) map[string]any {
	t.Helper()
	if got := r.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type is %q", got)
	}
	var reply map[string]any
	if err := json.NewDecoder(r.Body).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestTheReplySaysWhoAnsweredWhom(t *testing.T) {
	for _, path := range []string{"/hit-backend", "/hit_backend"} {
		status, reply := hit(t, New(replica), path, `{"username":"user","target":"backend-7"}`, "x-user", "kaleeswaran", "x-remora-session", "new")
		want := map[string]any{
			"target": "backend-1", "service_name": "backend-1", "username": "user",
			"podId": "backend-1-abcde", "pod_id": "backend-1-abcde", "podIp": "127.0.1.1",
			"session": "new", "visits": 1.0,
		}
		if status != http.StatusOK || fmt.Sprint(reply) != fmt.Sprint(want) {
			t.Errorf("%s: status %d, reply %v\nwant %v", path, status, reply, want)
		}
	}
}

func TestWhoTheUserIs(t *testing.T) {
	for _, c := range []struct{ name, body, header, want string }{
		{"the body has the name", `{"username":"a"}`, "", "a"},
		{"the body wins over the header", `{"username":"a"}`, "b", "a"},
		{"a body without a name leaves it to the header", `{"target":"backend-1"}`, "b", "b"},
		{"an empty body leaves it to the header", "", "b", "b"},
		{"a body that is too long to hold leaves it to the header", `{"username":"a","pad":"` + strings.Repeat("x", MaxBody) + `"}`, "b", "b"},
		{"no name anywhere", `{}`, "", ""},
		{"escapes in the name are decoded", `{"username":"\u00e4\n"}`, "", "ä\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, reply := hit(t, New(replica), "/hit-backend", c.body, "X-User", c.header)
			if status != http.StatusOK || reply["username"] != c.want {
				t.Errorf("status %d, reply %v; want the user %q", status, reply, c.want)
			}
		})
	}
}

func TestTheBodyIsReadOnlyWhereItsTypeIsJSON(t *testing.T) {
	for _, c := range []struct {
		contentType string
		status      int
		want        any
	}{
		{"application/json", 200, "body"},
		{"Application/JSON; charset=UTF-8", 200, "body"},
		{"application/json;", 200, "body"},
		{"application/json; charset=us-ascii", 200, "body"}, // a part of UTF-8
		{"text/json", 200, "body"},
		{"application/vnd.hit+json", 200, "body"},
		{"application/x-www-form-urlencoded", 200, "header"},
		{"text/plain", 200, "header"},
		{"application/jsonp", 200, "header"},
		{"", 200, "header"},
		{"application/json; charset=iso-8859-1", 415, nil},
		{"application/json; charset=utf-16", 415, nil},
		{"text/plain; charset=iso-8859-1", 200, "header"},
	} {
		status, reply := hit(t, New(replica), "/hit-backend", `{"username":"body"}`, "X-User", "header", "Content-Type", c.contentType)
		if status != c.status || reply["username"] != c.want {
			t.Errorf("%q: status %d, reply %v; want %d and the user %v", c.contentType, status, reply, c.status, c.want)
		}
	}
}

func TestTheSessionStateIsWhatTheGatewaySays(t *testing.T) {
	for told, want := range map[string]string{"new": "new", "existing": "existing", "moved": "moved", "": "none", "forged": "none"} {
		if _, reply := hit(t, New(replica), "/hit-backend", `{}`, "X-Remora-Session", told); reply["session"] != want {
			t.Errorf("told %q, it says %v, want %q", told, reply["session"], want)
		}
	}
}

func TestVisitsAreCountedForEachUserInThisReplicaOnly(t *testing.T) {
	one, other := New(replica), New(replica)
	for i, step := range []struct {
		h    http.Handler
		user string
		want float64
	}{
		{one, "a", 1},
		{one, "a", 2},
		{one, "b", 1},
		{other, "a", 1},
		{one, "a", 3},
		{one, "", 0},
		{one, "", 0},
	} {
		if _, reply := hit(t, step.h, "/hit-backend", `{"username":"`+step.user+`"}`); reply["visits"] != step.want {
			t.Errorf("step %d: user %q has %v visits, want %v", i, step.user, reply["visits"], step.want)
		}
	}
}

func TestTheUserWhoCalledLeastRecentlyIsForgottenFirst(t *testing.T) {
	v := newVisits(3)
	for i, step := range []struct {
		user string
		want uint64
	}{
		{"a", 1},
		{"b", 1},
		{"c", 1},
		{"a", 2}, // b is now the least recent
		{"d", 1}, // in place of b
		{"a", 3},
		{"c", 2},
		{"b", 1}, // in place of d
		{"d", 1}, // in place of a
		{"c", 3},
		{"b", 2},
	} {
		if got := v.add(step.user); got != step.want {
			t.Errorf("step %d: user %s has %d visits, want %d", i, step.user, got, step.want)
		}
	}
	if len(v.index) != 3 || len(v.nodes) != 4 {
		t.Errorf("%d users in the index and %d nodes, want 3 and 4 with the anchor", len(v.index), len(v.nodes))
	}
}

func TestOneUserIsEnoughToFillTheSmallestMemory(t *testing.T) {
	v := newVisits(1)
	for i, step := range []struct {
		user string
		want uint64
	}{{"a", 1}, {"a", 2}, {"b", 1}, {"a", 1}} {
		if got := v.add(step.user); got != step.want {
			t.Errorf("step %d: user %s has %d visits, want %d", i, step.user, got, step.want)
		}
	}
}

func TestRequestsThatCannotBeAnsweredGetJSONThatSaysWhy(t *testing.T) {
	for _, c := range []struct {
		name, method, target, body string
		status                     int
		says                       string
	}{
		{"an unknown path", "POST", "/hit", `{}`, 404, "there is nothing at /hit"},
		{"a hit by GET", "GET", "/hit-backend", ``, 405, "takes POST, not GET"},
		{"a body that is no JSON", "POST", "/hit-backend", `username=a`, 400, "the body is not JSON"},
		{"a name that is no string", "POST", "/hit-backend", `{"username":1}`, 400, "the body is not JSON of the form"},
		{"a wait that is no duration", "POST", "/hit-backend?wait=5", `{}`, 400, `wait="5": want a duration`},
		{"a wait over the limit", "POST", "/hit-backend?wait=61s", `{}`, 400, "from 0s to 1m0s"},
		{"a burn over the limit", "POST", "/hit-backend?burn=2s", `{}`, 400, "from 0s to 1s"},
		{"a negative burn", "POST", "/hit-backend?burn=-1s", `{}`, 400, "from 0s to 1s"},
		{"a stream of no events", "POST", "/hit-backend?stream=0", `{}`, 400, "from 1 to 1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(c.method, c.target, strings.NewReader(c.body))
			r.Header.Set("Content-Type", "application/json")
			New(replica).ServeHTTP(w, r)
			reply := decode(t, w.Result())
			if w.Code != c.status || reply["status"] != float64(c.status) || !strings.Contains(fmt.Sprint(reply["error"]), c.says) {
				t.Errorf("status %d, reply %v; want %d and %q", w.Code, reply, c.status, c.says)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		w := httptest.NewRecorder()
		New(replica).ServeHTTP(w, httptest.NewRequest(method, "/healthz", http.NoBody))
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d", method, w.Code)
		}
	}
}

func TestEchoShowsTheRequestAsItArrived(t *testing.T) {
	_, reply := hit(t, New(replica), "/hit_backend?echo=1&x=%20", `{"username":"a"}`, "X-Forwarded-For", "192.0.2.1")
	echo, ok := reply["echo"].(map[string]any)
	if !ok {
		t.Fatalf("no echo in %v", reply)
	}
	for field, want := range map[string]any{"method": "POST", "path": "/hit_backend", "query": "echo=1&x=%20", "host": "example.com", "bodyBytes": 16.0} {
		if echo[field] != want {
			t.Errorf("%s is %v, want %v", field, echo[field], want)
		}
	}
	if header, _ := echo["header"].(map[string]any); fmt.Sprint(header["X-Forwarded-For"]) != "[192.0.2.1]" {
		t.Errorf("header is %v", echo["header"])
	}
}

func TestWaitTakesItsTimeAndBurnToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		hit(t, New(replica), "/hit-backend?wait=50ms", `{}`)
		if got := time.Since(start); got != 50*time.Millisecond {
			t.Errorf("waited %v", got)
		}
	})
	start := time.Now()
	hit(t, New(replica), "/hit-backend?burn=2ms", `{}`)
	if got := time.Since(start); got < 2*time.Millisecond {
		t.Errorf("burnt only %v", got)
	}
}

func TestAClientThatGoesAwayEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		w := httptest.NewRecorder()
		New(replica).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", "/hit-backend?wait=1m", strings.NewReader(`{}`)))
		if got := time.Since(start); got != time.Second || w.Body.Len() > 0 {
			t.Errorf("ended after %v with %q", got, w.Body)
		}
	})
}

// start runs a replica on a free port and returns its URL, and a function that stops it and returns what Run returned.
func start(t *testing.T, c Config) (url string, stop func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, c, l) }()
	return "http://" + l.Addr().String(), func() error {
		cancel()
		return <-ended
	}
}

func TestEventsArriveWhenTheyAreSent(t *testing.T) {
	url, stop := start(t, Config{Service: "backend-2", Grace: time.Nanosecond})
	// The second event is a minute away: the first can be read only if it was not held back for it.
	resp, err := http.Post(url+"/hit-backend?stream=2&wait=1m", "application/json", strings.NewReader(`{"username":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type is %q", got)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Scan()
	id := lines.Text()
	lines.Scan()
	if data := lines.Text(); id != "id: 1" || !strings.Contains(data, `data: {"target":"backend-2"`) || !strings.Contains(data, `"podIp":"127.0.0.1"`) {
		t.Errorf("read %q and %q", id, data)
	}
	if err := stop(); err != nil { // cuts the stream off: its grace is over at once
		t.Error(err)
	}
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the stream ended as if it were whole")
	}
}

func TestRunFinishesWhatIsInFlightAndCloses(t *testing.T) {
	url, stop := start(t, Config{Service: "backend-3", Grace: time.Minute})
	body, send := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/hit-backend", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Expect", "100-continue")
	req.Header.Set("Content-Type", "application/json")
	inHandler := make(chan struct{})
	go func() {
		send.Write([]byte(`{"username":`)) // is taken only when the server has asked for the body
		close(inHandler)
	}()
	replied := make(chan map[string]any, 1)
	go func() {
		client := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}}
		resp, err := client.Do(req)
		if err != nil {
			replied <- map[string]any{"error": err}
			return
		}
		defer resp.Body.Close()
		replied <- decode(t, resp)
	}()
	<-inHandler
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	for { // until the listener is closed, the stop has not begun
		c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			break
		}
		c.Close()
	}
	send.Write([]byte(`"late"}`))
	send.Close()
	if reply := <-replied; reply["username"] != "late" {
		t.Errorf("the request in flight got %v", reply)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestRunSaysWhatIsMissing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), Config{}, l); err == nil || !strings.Contains(err.Error(), "no service name") {
		t.Errorf("error is %v", err)
	}
	if err := Run(t.Context(), replica, l); err == nil { // the listener was closed by the first
		t.Error("no error on a closed listener")
	}
}

func TestReplicaNamesLookLikePodNames(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		name := NewReplicaName("backend-1")
		if !regexp.MustCompile(`^backend-1-[a-z0-9]{5}$`).MatchString(name) {
			t.Fatalf("%q", name)
		}
		seen[name] = true
	}
	if len(seen) < 90 {
		t.Errorf("only %d different names of 100", len(seen))
	}
}
