package http1

import (
	"fmt"
	"strings"
	"testing"
)

// parseWhole parses head in one go.
func parseWhole(head string, lim *Limits) (*Request, int, *Error) {
	r := new(Request)
	n, err := r.Parse([]byte(head), lim)
	return r, n, err
}

// parseSplit parses head with a buffer that grows by step bytes and is somewhere else each time; the buffer before is
// overwritten, so that a view that was left behind shows.
func parseSplit(head string, step int, lim *Limits) (*Request, int, *Error) {
	r := new(Request)
	var old []byte
	for end := step; ; end += step {
		end = min(end, len(head))
		buf := []byte(head[:end])
		copy(buf, old) // names that are lower case already
		n, err := r.Parse(buf, lim)
		for i := range old {
			old[i] = '!'
		}
		if n > 0 || err != nil || end == len(head) {
			return r, n, err
		}
		old = buf
	}
}

func describe(r *Request, n int, err *Error) string {
	if err != nil {
		return "refused: " + string(err.Reason)
	}
	if n == 0 {
		return "incomplete"
	}
	return fmt.Sprintf("%d bytes: %q %q path %q query %q host %q 1.%d fields %q %v framing %d length %d keep %v 100 %v upgrade %q trailers %v",
		n, r.Method, r.Target, r.Path, r.Query, r.Host, r.Minor, r.Fields, r.kinds, r.Framing, r.ContentLength, r.KeepAlive,
		r.ExpectContinue, r.Upgrade, r.Trailers)
}

const host = "Host: a\r\n"

func TestARequestIsRead(t *testing.T) {
	for _, c := range []struct {
		name string
		head string
		want func(r *Request) string // what the check shows
		is   string
	}{
		{
			"the parts of a request line", "POST /a/b?c=d?e HTTP/1.1\r\nHost: a\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.Method, r.Target, r.Path, r.Query, r.Minor) }, "POST/a/b?c=d?e/a/bc=d?e1",
		},
		{
			"a query may be empty", "GET /a? HTTP/1.1\r\n" + host + "\r\n",
			func(r *Request) string { return r.Path + " " + r.Query }, "/a ",
		},
		{
			"a method is case-sensitive and any token (RFC 9110, 9.1)", "m-Search / HTTP/1.1\r\n" + host + "\r\n",
			func(r *Request) string { return r.Method }, "m-Search",
		},
		{
			"field names become lower case", "GET / HTTP/1.1\r\nHOST: a\r\nX-Some-Thing_2: B\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.Fields) }, "[{host a} {x-some-thing_2 B}]",
		},
		{
			"whitespace around values is not part of them (RFC 9112, 5.1)", "GET / HTTP/1.1\r\nHost:a\r\nX: \t b\tc \t\r\nY:\r\nZ: \r\n\r\n",
			func(r *Request) string { return fmt.Sprintf("%q", r.Fields) }, `[{"host" "a"} {"x" "b\tc"} {"y" ""} {"z" ""}]`,
		},
		{
			"values may have bytes over 0x7f (RFC 9110, 5.5)", "GET / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa9\xff\r\n\r\n",
			func(r *Request) string { return fmt.Sprintf("%q", r.Fields[1].Value) }, `"é\xff"`,
		},
		{
			"repeated fields are there as often as they came", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.Fields[1:]) }, "[{x 1} {x 2}]",
		},
		{
			"one empty line before the request line is skipped (RFC 9112, 2.2)", "\r\nGET / HTTP/1.1\r\n" + host + "\r\n",
			func(r *Request) string { return r.Method + r.Path }, "GET/",
		},
		{
			"the absolute form gives host and path (RFC 9112, 3.2.2)", "GET http://A.b:80/c?d HTTP/1.1\r\nHost: a.B:80\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.Target, " ", r.Host, " ", r.Path, " ", r.Query) }, "http://A.b:80/c?d a.B:80 /c d",
		},
		{
			"the absolute form may lack a path", "GET HTTPS://a HTTP/1.1\r\n" + host + "\r\n",
			func(r *Request) string { return r.Path }, "/",
		},
		{
			"the absolute form may have a query and no path", "GET http://a?x=/ HTTP/1.1\r\n" + host + "\r\n",
			func(r *Request) string { return r.Path + " " + r.Query }, "/ x=/",
		},
		{
			"OPTIONS of a whole server in absolute form (RFC 9112, 3.2.4)", "OPTIONS http://a HTTP/1.1\r\n" + host + "\r\n",
			func(r *Request) string { return r.Path }, "*",
		},
		{
			"OPTIONS of a whole server", "OPTIONS * HTTP/1.1\r\n" + host + "\r\n",
			func(r *Request) string { return r.Path }, "*",
		},
		{
			"a host may be an IPv6 address with a port", "GET / HTTP/1.1\r\nHost: [fd00::1]:8080\r\n\r\n",
			func(r *Request) string { return r.Host }, "[fd00::1]:8080",
		},
		{
			"a request without framing has no body (RFC 9112, 6.3)", "POST / HTTP/1.1\r\n" + host + "\r\n",
			func(r *Request) string { return fmt.Sprint(r.Framing == NoBody) }, "true",
		},
		{
			"Content-Length frames a body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.Framing == Length, r.ContentLength) }, "true 9223372036854775807",
		},
		{
			"leading zeros of Content-Length are taken off", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:010\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.ContentLength, r.Fields[1]) }, "10 {content-length 10}",
		},
		{
			"a Content-Length of 0 is no body", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 00\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.Framing == NoBody, r.Fields[1]) }, "true {content-length 0}",
		},
		{
			"chunked frames a body, whatever its case", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tCHUNKED \r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.Framing == Chunked) }, "true",
		},
		{"HTTP/1.1 goes on", "GET / HTTP/1.1\r\n" + host + "\r\n", keepAlive, "true"},
		{"HTTP/1.1 with close does not", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Close\r\n\r\n", keepAlive, "false"},
		{"close wins over keep-alive", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: , close,\r\n\r\n", keepAlive, "false"},
		{"HTTP/1.0 does not go on", "GET / HTTP/1.0\r\n\r\n", keepAlive, "false"},
		{"HTTP/1.0 with keep-alive does", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", keepAlive, "true"},
		{"HTTP/1.0 needs no Host", "GET / HTTP/1.0\r\n\r\n", func(r *Request) string { return fmt.Sprintf("%q %d", r.Host, r.Minor) }, `"" 0`},
		{
			"the client waits for 100", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-Continue\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.ExpectContinue) }, "true",
		},
		{
			"without a body nothing is waited for (RFC 9110, 10.1.1)", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.ExpectContinue) }, "false",
		},
		{
			"HTTP/1.0 has no expectations", "POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: x\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.ExpectContinue) }, "false",
		},
		{
			"an upgrade is offered with both fields", "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
			func(r *Request) string { return r.Upgrade }, "websocket",
		},
		{
			"Upgrade alone offers nothing (RFC 9110, 7.8)", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
			func(r *Request) string { return r.Upgrade }, "",
		},
		{
			"trailers are accepted", "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: deflate;q=0.5, Trailers\r\n\r\n",
			func(r *Request) string { return fmt.Sprint(r.Trailers) }, "true",
		},
		{
			"fields that Connection names are gone (RFC 9110, 7.6.1)", "GET / HTTP/1.1\r\nConnection: X-Hop,close\r\nX-Hop: 1\r\nHost: a\r\nx-hop: 2\r\nY: 3\r\n\r\n",
			func(r *Request) string { v, _ := r.Get(Host); return fmt.Sprint(r.Fields, v) }, "[{connection x-hop,close} {host a} {y 3}]a",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, n, err := parseWhole(c.head, nil)
			if err != nil || n != len(c.head) {
				t.Fatalf("got %d bytes of %d, %v", n, len(c.head), err)
			}
			if got := c.want(r); got != c.is {
				t.Errorf("got %s, want %s", got, c.is)
			}
		})
	}
}

func keepAlive(r *Request) string { return fmt.Sprint(r.KeepAlive) }

func TestARequestIsRefused(t *testing.T) {
	long := strings.Repeat("x", 40<<10)
	for _, c := range []struct {
		name   string
		head   string
		reason Reason
		status int
	}{
		{"a request line without a version (HTTP/0.9)", "GET /\r\n\r\n", "bad_request_line", 400},
		{"a request line of a method alone", "GET\r\n\r\n", "bad_request_line", 400},
		{"two spaces before the target", "GET  / HTTP/1.1\r\n" + host + "\r\n", "bad_request_line", 400},
		{"two spaces before the version", "GET /  HTTP/1.1\r\n" + host + "\r\n", "bad_request_line", 400},
		{"a tab instead of a space", "GET\t/ HTTP/1.1\r\n" + host + "\r\n", "bad_request_line", 400},
		{"a tab behind the target", "GET /\tHTTP/1.1\r\n" + host + "\r\n", "bad_request_line", 400},
		{"a space at the end of the request line", "GET / HTTP/1.1 \r\n" + host + "\r\n", "bad_request_line", 400},
		{"a space in the target", "GET /a b HTTP/1.1\r\n" + host + "\r\n", "bad_request_line", 400},
		{"a space before the method", " GET / HTTP/1.1\r\n" + host + "\r\n", "bad_method", 400},
		{"a TLS hello", "\x16\x03\x01\x02\x00", "bad_method", 400},
		{"a method that is not a token", "GE(T / HTTP/1.1\r\n" + host + "\r\n", "bad_method", 400},
		{"NUL in the method", "G\x00T / HTTP/1.1\r\n" + host + "\r\n", "bad_method", 400},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\n" + host + "\r\n", "connect_refused", 501},
		{"the authority form with another method", "GET a:443 HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"a target without a slash", "GET a HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"the asterisk form with another method", "GET * HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"a fragment", "GET /a#b HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"NUL in the target", "GET /a\x00 HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"DEL in the target", "GET /a\x7f HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"a raw byte over 0x7f in the target", "GET /\xc3\xa9 HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"a percent escape that is cut short", "GET /a%2 HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"a percent escape that is not hexadecimal", "GET /a%2g HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"another scheme", "GET ftp://a/ HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"a scheme without a host", "GET http:///b HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"a scheme without anything", "GET http:// HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"user information in the target (RFC 9110, 4.2.4)", "GET http://u@a/ HTTP/1.1\r\n" + host + "\r\n", "bad_target", 400},
		{"a target over the limit", "GET /" + long[:9000] + " HTTP/1.1\r\n" + host + "\r\n", "request_line_too_long", 414},
		{"a request line that does not end within the limit", "GET /" + long, "request_line_too_long", 414},
		{"HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "version_not_supported", 505},
		{"HTTP/0.9", "GET / HTTP/0.9\r\n\r\n", "version_not_supported", 505},
		{"HTTP/1.2", "GET / HTTP/1.2\r\n" + host + "\r\n", "version_not_supported", 505},
		{"HTTP/1.10", "GET / HTTP/1.10\r\n" + host + "\r\n", "bad_version", 400},
		{"http/1.1", "GET / http/1.1\r\n" + host + "\r\n", "bad_version", 400},
		{"another protocol", "GET / ICAP/1.0\r\n" + host + "\r\n", "bad_version", 400},
		{"an empty version", "GET / \r\n" + host + "\r\n", "bad_version", 400},
		{"two empty lines before the request line", "\r\n\r\nGET / HTTP/1.1\r\n" + host + "\r\n", "bad_method", 400},
		{"an LF alone before the request line", "\nGET / HTTP/1.1\r\n" + host + "\r\n", "bare_lf", 400},
		{"a CR alone before the request line", "\rGET / HTTP/1.1\r\n" + host + "\r\n", "bare_cr", 400},
		{"LF alone at the end of the request line", "GET / HTTP/1.1\n" + host + "\r\n", "bare_lf", 400},
		{"LF alone behind the method", "GET\n" + host + "\r\n", "bare_lf", 400},
		{"LF alone behind the target", "GET /\n" + host + "\r\n", "bare_lf", 400},
		{"CR alone in the request line", "GET / HTTP/1.1\r" + host + "\r\n", "bare_cr", 400},
		{"CR alone in the target", "GET /\rb HTTP/1.1\r\n" + host + "\r\n", "bare_cr", 400},
		{"LF alone at the end of a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", "bare_lf", 400},
		{"LF alone as the empty line", "GET / HTTP/1.1\r\nHost: a\r\n\n", "bare_lf", 400},
		{"CR alone in a value", "GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "bare_cr", 400},
		{"CR alone at the start of a line", "GET / HTTP/1.1\r\nHost: a\r\n\rX: b\r\n\r\n", "bare_cr", 400},
		{"two CRs before the LF", "GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "bare_cr", 400},
		{"CR in a name", "GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n", "bare_cr", 400},
		{"LF in a name", "GET / HTTP/1.1\r\nHo\nst: a\r\n\r\n", "bare_lf", 400},
		{"a space before the colon (RFC 9112, 5.1)", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "space_before_colon", 400},
		{"a tab before the colon", "GET / HTTP/1.1\r\nHost\t: a\r\n\r\n", "space_before_colon", 400},
		{"a line without a colon", "GET / HTTP/1.1\r\nHost\r\n\r\n", "bad_field_name", 400},
		{"a field without a name", "GET / HTTP/1.1\r\n: a\r\n\r\n", "bad_field_name", 400},
		{"a name that is not a token", "GET / HTTP/1.1\r\nX(y): a\r\n\r\n", "bad_field_name", 400},
		{"a name in quotes", "GET / HTTP/1.1\r\n\"x\": a\r\n\r\n", "bad_field_name", 400},
		{"a name with a byte over 0x7f", "GET / HTTP/1.1\r\nX\xe9: a\r\n\r\n", "bad_field_name", 400},
		{"a name with NUL", "GET / HTTP/1.1\r\nX\x00: a\r\n\r\n", "bad_field_name", 400},
		{"obsolete line folding (RFC 9112, 5.2)", "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", "line_folding", 400},
		{"folding with a tab", "GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", "line_folding", 400},
		{"whitespace before the first field (RFC 9112, 2.2)", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "line_folding", 400},
		{"NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", "bad_field_value", 400},
		{"a control character in a long value", "GET / HTTP/1.1\r\nHost: a\r\nX: 0123456789\x1b[31m\r\n\r\n", "bad_field_value", 400},
		{"DEL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x7f\r\n\r\n", "bad_field_value", 400},
		{"a vertical tab in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x0ba\r\n\r\n", "bad_field_value", 400},
		{"a head over the limit", "GET / HTTP/1.1\r\nHost: a\r\nX: " + long + "\r\n\r\n", "head_too_large", 431},
		{"a head that does not end within the limit", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: "+long[:3000]+"\r\n", 12), "head_too_large", 431},
		{"101 fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 100) + "\r\n", "too_many_fields", 431},
		{"no Host (RFC 9112, 3.2)", "GET / HTTP/1.1\r\n\r\n", "host_missing", 400},
		{"no Host with an absolute form", "GET http://a/ HTTP/1.1\r\n\r\n", "host_missing", 400},
		{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "host_repeated", 400},
		{"two Hosts in HTTP/1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "host_repeated", 400},
		{"an empty Host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "bad_host", 400},
		{"a list of hosts", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "bad_host", 400},
		{"a host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "bad_host", 400},
		{"a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "bad_host", 400},
		{"a host with user information", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "bad_host", 400},
		{"a host with a port that is not a number", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "bad_host", 400},
		{"a port over 65535", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "bad_host", 400},
		{"a long port", "GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", "bad_host", 400},
		{"a port without a host", "GET / HTTP/1.1\r\nHost: :80\r\n\r\n", "bad_host", 400},
		{"a bare IPv6 address", "GET / HTTP/1.1\r\nHost: fd00::1\r\n\r\n", "bad_host", 400},
		{"an IPv6 address with a zone", "GET / HTTP/1.1\r\nHost: [fe80::1%eth0]\r\n\r\n", "bad_host", 400},
		{"an IPv6 address without its bracket", "GET / HTTP/1.1\r\nHost: [fe80::1\r\n\r\n", "bad_host", 400},
		{"an IPv4 address in brackets", "GET / HTTP/1.1\r\nHost: [127.0.0.1]\r\n\r\n", "bad_host", 400},
		{"another Host than the target's", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "host_mismatch", 400},
		{"another port than the target's", "GET http://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n", "host_mismatch", 400},
		{"two Content-Types", "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\ncontent-type: text/plain\r\n\r\n", "duplicate_header", 400},
		{"an unknown expectation (RFC 9110, 10.1.1)", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 200-ok\r\n\r\n", "expectation_not_supported", 417},
		{"two expectations", "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n", "expectation_not_supported", 417},
		{"a connection option that is not a token", "GET / HTTP/1.1\r\nHost: a\r\nConnection: a b\r\n\r\n", "bad_connection_option", 400},
		{"a long list of connection options", "GET / HTTP/1.1\r\nHost: a\r\nConnection: " + strings.Repeat("a,", 17) + "\r\n\r\n", "bad_connection_option", 400},
		{"Connection: host", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", "protected_connection_option", 400},
		{"Connection: x-forwarded-for", "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Forwarded-For\r\n\r\n", "protected_connection_option", 400},
		{"Connection: authorization", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Authorization\r\n\r\n", "protected_connection_option", 400},
		{"Connection: content-length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: Content-Length\r\n\r\n", "protected_connection_option", 400},
		{"Connection with a field that the configuration needs", "GET / HTTP/1.1\r\nHost: a\r\nX-User: b\r\nConnection: X-User\r\n\r\n", "protected_connection_option", 400},
		{"Trailer with a field of framing", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x, Content-Length\r\n\r\n", "bad_trailer", 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			lim := &Limits{Protected: []string{"target", "x-user"}}
			r, n, err := parseWhole(c.head, lim)
			if err == nil {
				t.Fatalf("accepted: %s", describe(r, n, err))
			}
			if err.Reason != c.reason || err.Status != c.status {
				t.Errorf("got %d %s, want %d %s", err.Status, err.Reason, c.status, c.reason)
			}
		})
	}
}

func TestLimitsAreExact(t *testing.T) {
	head := "GET /1234 HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"
	line := strings.IndexByte(head, '\n') + 1
	for _, c := range []struct {
		name string
		lim  Limits
		want string
	}{
		{"a head of the limit", Limits{MaxHead: len(head)}, ""},
		{"a head of one byte more", Limits{MaxHead: len(head) - 1}, "head_too_large"},
		{"a request line of the limit", Limits{MaxRequestLine: line}, ""},
		{"a request line of one byte more", Limits{MaxRequestLine: line - 1}, "request_line_too_long"},
		{"as many fields as allowed", Limits{MaxFields: 2}, ""},
		{"one field more", Limits{MaxFields: 1}, "too_many_fields"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for step := 1; step <= len(head); step++ {
				_, n, err := parseSplit(head, step, &c.lim)
				switch {
				case c.want == "" && (n != len(head) || err != nil):
					t.Fatalf("step %d: %d, %v", step, n, err)
				case c.want != "" && (err == nil || string(err.Reason) != c.want):
					t.Fatalf("step %d: %v", step, err)
				}
			}
		})
	}
}

func TestARequestKeepsItsMemory(t *testing.T) {
	r := new(Request)
	buf := []byte(ordinaryPost)
	allocs := testing.AllocsPerRun(100, func() {
		r.Reset()
		if n, err := r.Parse(buf, nil); n != len(buf) || err != nil {
			t.Fatal(n, err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a request", allocs)
	}
	first := describe(r, len(buf), nil)
	r.Reset()
	other := "GET * HTTP/1.0\r\n\r\n"
	if _, err := r.Parse([]byte(other), nil); err == nil {
		t.Error("GET * was accepted")
	}
	r.Reset()
	if _, err := r.Parse([]byte("OPTIONS http://x/?y HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: z\r\nTE: trailers\r\n\r\n"), nil); err != nil {
		t.Error(err)
	}
	r.Reset()
	if n, err := r.Parse([]byte(ordinaryPost), nil); describe(r, n, err) != first {
		t.Errorf("a used Request reads otherwise:\n%s\n%s", describe(r, n, err), first)
	}
}

func TestBytesBehindTheHeadAreLeftAlone(t *testing.T) {
	head := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
	buf := []byte(head + "BODY: X\r\nGET /ABC")
	r := new(Request)
	if n, err := r.Parse(buf, nil); n != len(head) || err != nil {
		t.Fatal(n, err)
	}
	if got := string(buf[len(head):]); got != "BODY: X\r\nGET /ABC" {
		t.Errorf("the body became %q", got)
	}
}

func TestViewsFollowTheBuffer(t *testing.T) {
	r := new(Request)
	buf := []byte("GET http://a/b?c HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: u\r\nX:\r\n\r\n")
	n, err := r.Parse(buf, nil)
	want := describe(r, n, err)
	moved := append(make([]byte, 0, 4096), buf...)
	r.Rebase(moved)
	clear(buf)
	if got := describe(r, n, nil); got != want {
		t.Errorf("after the move\n%s\nbefore\n%s", got, want)
	}
}
