package gateway

import (
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gather reads all metrics as a scrape would: "name{label="value"}" → value.
func gather(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(c); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for i, l := range m.GetLabel() {
				name += string("{,"[min(i, 1)]) + l.GetName() + "=" + l.GetValue()
			}
			if len(m.GetLabel()) > 0 {
				name += "}"
			}
			out[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	backend := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/teapot" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	r := start(t, services{{backend.addr}})
	w := r.dial()
	for range 3 {
		w.send(hit("ann", "backend-1"))
		w.expect(200, "")
	}
	w.send(get("/teapot"))
	w.response("GET")
	w.send("GET / HTTP/1.1\nHost: gw\n\n")
	w.expect(404, "no_route")
	w.send("GET / HTTP/1.1\nHost: gw\nContent-Length : 5\n\n")
	w.expect(400, "space_before_colon")
	w.Close()
	r.until("the connection has ended", func() bool { return r.stats().clients == 0 })

	got := gather(t, r.g)
	for name, want := range map[string]float64{
		"remora_gateway_requests_total{code=2xx,service=backend-1,session=new}":      1,
		"remora_gateway_requests_total{code=2xx,service=backend-1,session=existing}": 2,
		"remora_gateway_requests_total{code=4xx,service=backend-1,session=existing}": 1,
		"remora_gateway_requests_total{code=4xx,service=,session=none}":              2,
		"remora_gateway_exchanges_total{ending=forwarded}":                           4,
		"remora_gateway_exchanges_total{ending=answered}":                            2,
		"remora_gateway_problems_total{code=no_route}":                               1,
		"remora_gateway_problems_total{code=space_before_colon}":                     1,
		"remora_gateway_problems_total{code=internal}":                               0,
		"remora_gateway_client_connections":                                          0,
		"remora_gateway_client_connections_accepted_total":                           1,
		"remora_gateway_upstream_connections{state=idle}":                            1,
		"remora_gateway_upstream_connections{state=busy}":                            0,
		"remora_gateway_upstream_connections_opened_total":                           1,
		"remora_gateway_upstream_connections_reused_total":                           3,
		"remora_gateway_request_duration_seconds":                                    6,
		"remora_gateway_upstream_first_byte_seconds":                                 4,
		"remora_gateway_buffers_in_use":                                              0,
		"remora_gateway_smuggling_refused_total":                                     1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %v (there: %v), want %v", name, v, ok, want)
		}
	}
	if in, out := got["remora_gateway_client_received_bytes_total"], got["remora_gateway_upstream_sent_bytes_total"]; in < 400 || out < in {
		t.Errorf("%v bytes received from clients and %v sent to replicas", in, out)
	}
	r.g.Close()
	if after := gather(t, r.g); after["remora_gateway_exchanges_total{ending=forwarded}"] != 4 {
		t.Error("the counters of a stopped gateway are gone")
	}
}

func TestCountersOfServicesSurviveManyConfigurations(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}}, func(c *Config) { c.Workers = 1 })
	w := r.dial()
	for range 20 {
		r.apply(configure(services{{backend.addr}}))
		w.send(get("/"))
		w.expect(200, "")
	}
	if n := gather(t, r.g)["remora_gateway_requests_total{code=2xx,service=backend-1,session=existing}"]; n != 19 {
		t.Errorf("%v requests are counted, want 19", n)
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	last := -1
	for us := range uint64(200_000) {
		i := bucketOf(us)
		if i < last || i > last+1 {
			t.Fatalf("%d µs is in bucket %d, the one before in %d", us, i, last)
		}
		last = i
		if us >= upperBound(i) || i > 0 && us < upperBound(i-1) {
			t.Fatalf("%d µs is in bucket %d, which ends at %d", us, i, upperBound(i))
		}
		if i > 0 {
			lower := upperBound(i - 1)
			if width := upperBound(i) - lower; width*4 > lower {
				t.Fatalf("bucket %d is from %d to %d µs: wider than a quarter", i, lower, upperBound(i))
			}
		}
	}
	for _, d := range []time.Duration{-1, 0, time.Millisecond, time.Second, time.Hour, math.MaxInt64} {
		h.add(d)
	}
	if h.counts[0] != 2 || h.counts[histogramBuckets-1] != 2 {
		t.Errorf("%d in the first bucket and %d in the last, want 2 and 2", h.counts[0], h.counts[histogramBuckets-1])
	}
	if got := upperBound(histogramBuckets - 2); got < 33_000_000 || got > 34_000_000 {
		t.Errorf("the last bound is %d µs", got)
	}
	sum := h
	sum.merge(&h)
	if n := gather(t, one{sum.metric(durationDesc)})["remora_gateway_request_duration_seconds"]; n != 12 {
		t.Errorf("a merged histogram counts %v, want 12", n)
	}
}

// one is a collector of one metric.
type one struct{ prometheus.Metric }

func (o one) Describe(ch chan<- *prometheus.Desc) { ch <- o.Desc() }
func (o one) Collect(ch chan<- prometheus.Metric) { ch <- o.Metric }

func TestTheAccessLog(t *testing.T) {
	backend := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.(http.Flusher).Flush()
		}
		w.Write([]byte("hello"))
	})
	records := make(chan Record, 100)
	r := start(t, services{{backend.addr}}, quick, func(c *Config) {
		c.AccessLog = func(rec *Record) {
			kept := *rec
			kept.Method, kept.Host, kept.Path = strings.Clone(rec.Method), strings.Clone(rec.Host), strings.Clone(rec.Path)
			kept.RequestID, kept.Promoted = strings.Clone(rec.RequestID), append([]string(nil), rec.Promoted...)
			records <- kept
		}
	})
	next := func() Record {
		t.Helper()
		select {
		case rec := <-records:
			return rec
		case <-time.After(patience):
			t.Fatal("nothing was logged")
			return Record{}
		}
	}
	before := time.Now().Add(-time.Second)
	w := r.dial()
	w.send(strings.Replace(hit("ann", "backend-1"), "Host: gw", "Host: gw\nX-Request-Id: my-id", 1))
	w.expect(200, "")
	rec := next()
	if rec.Time.Before(before) || rec.Time.After(time.Now()) {
		t.Errorf("time %v", rec.Time)
	}
	if rec.Decided < 0 || rec.Sent < rec.Decided || rec.FirstByte < rec.Sent || rec.Total < rec.FirstByte {
		t.Errorf("durations %v %v %v %v", rec.Decided, rec.Sent, rec.FirstByte, rec.Total)
	}
	if rec.BytesIn < 100 || rec.BytesOut < 50 {
		t.Errorf("%d bytes in and %d out", rec.BytesIn, rec.BytesOut)
	}
	check := func(rec Record, method, host, path string, status int, outcome, problem, service, session, id string, promoted int) {
		t.Helper()
		if rec.Method != method || rec.Host != host || rec.Path != path || rec.Status != status || rec.Outcome != outcome || rec.Problem != problem ||
			rec.Service != service || rec.Session != session || id != "" && rec.RequestID != id || len(rec.Promoted) != promoted {
			t.Errorf("logged %+v", rec)
		}
	}
	check(rec, "POST", "gw", "/hit_backend", 200, "forwarded", "", "backend-1", "new", "my-id", 2)
	if rec.Endpoint != backend.addr || rec.Protocol != "HTTP/1.1" || rec.Client.String() != "127.0.0.1" {
		t.Errorf("logged %+v", rec)
	}

	w.send(get("/a/../stream?user=secret"))
	w.expect(200, "")
	check(next(), "GET", "gw", "/stream", 200, "forwarded", "", "backend-1", "existing", "", 0)

	w.send("GET /nowhere HTTP/1.1\nHost: other\n\n")
	w.expect(404, "no_route")
	check(next(), "GET", "other", "/nowhere", 404, "answered", "no_route", "", "none", "", 0)

	w.send("nonsense\n\n")
	w.expect(400, "bad_request_line")
	rec = next()
	check(rec, "", "", "", 400, "answered", "bad_request_line", "", "none", "", 0)
	if rec.Protocol != "" || rec.RequestID == "" {
		t.Errorf("logged %+v", rec)
	}
}
