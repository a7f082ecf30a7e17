package accesslog

import (
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/remora-proxy/remora/internal/gateway"
)

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// AppendJSON appends a record as a line of JSON. Members that say nothing are left out; durations are in milliseconds.
func AppendJSON(b []byte, r *gateway.Record) []byte {
	b = append(b, `{"time":"`...)
	b = r.Time.UTC().AppendFormat(b, timeFormat)
	b = append(b, `","client":"`...)
	b = r.Client.AppendTo(b)
	b = append(b, '"')
	b = member(b, "method", r.Method)
	b = member(b, "host", r.Host)
	b = member(b, "path", r.Path)
	b = member(b, "protocol", r.Protocol)
	b = number(b, "status", uint64(r.Status))
	b = member(b, "outcome", r.Outcome)
	b = member(b, "problem", r.Problem)
	b = member(b, "service", r.Service)
	b = member(b, "endpoint", r.Endpoint)
	b = member(b, "session", r.Session)
	if len(r.Promoted) > 0 {
		b = append(b, `,"promoted":[`...)
		for i, name := range r.Promoted {
			if i > 0 {
				b = append(b, ',')
			}
			b = quoted(b, name)
		}
		b = append(b, ']')
	}
	b = member(b, "requestId", r.RequestID)
	b = number(b, "bytesIn", r.BytesIn)
	b = number(b, "bytesOut", r.BytesOut)
	if r.ConnectFailures > 0 {
		b = number(b, "connectFailures", uint64(r.ConnectFailures))
	}
	if r.Moves > 0 {
		b = number(b, "moves", uint64(r.Moves))
	}
	if r.Resends > 0 {
		b = number(b, "resends", uint64(r.Resends))
	}
	b = duration(b, "decidedMs", r.Decided)
	b = duration(b, "sentMs", r.Sent)
	b = duration(b, "firstByteMs", r.FirstByte)
	b = append(b, `,"totalMs":`...)
	b = millis(b, r.Total)
	return append(b, "}\n"...)
}

// AppendText appends a record as a line for people: time, client, method, host and path, status, outcome, endpoint, session,
// bytes in and out, milliseconds, request id, then what is not usual as name=value. What is missing is "-".
func AppendText(b []byte, r *gateway.Record) []byte {
	b = r.Time.UTC().AppendFormat(b, timeFormat)
	b = append(b, ' ')
	b = r.Client.AppendTo(b)
	b = word(b, r.Method)
	b = word(b, r.Host+r.Path)
	b = append(b, ' ')
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = word(b, r.Outcome)
	b = word(b, r.Endpoint)
	b = word(b, r.Session)
	b = append(b, ' ')
	b = strconv.AppendUint(b, r.BytesIn, 10)
	b = append(b, ' ')
	b = strconv.AppendUint(b, r.BytesOut, 10)
	b = append(b, ' ')
	b = millis(b, r.Total)
	b = append(b, "ms"...)
	b = word(b, r.RequestID)
	if r.Problem != "" {
		b = append(b, " problem="...)
		b = append(b, r.Problem...)
	}
	for _, n := range [...]struct {
		name string
		n    int
	}{{" connect-failures=", r.ConnectFailures}, {" moves=", r.Moves}, {" resends=", r.Resends}} {
		if n.n > 0 {
			b = append(b, n.name...)
			b = strconv.AppendInt(b, int64(n.n), 10)
		}
	}
	return append(b, '\n')
}

func member(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return quoted(b, value)
}

func number(b []byte, name string, n uint64) []byte {
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return strconv.AppendUint(b, n, 10)
}

func duration(b []byte, name string, d time.Duration) []byte {
	if d == 0 {
		return b
	}
	b = append(b, `,"`...)
	b = append(b, name...)
	b = append(b, `":`...)
	return millis(b, d)
}

// millis appends a duration in milliseconds, to the microsecond.
func millis(b []byte, d time.Duration) []byte {
	us := uint64(max(d, 0) / time.Microsecond)
	b = strconv.AppendUint(b, us/1000, 10)
	return append(b, '.', '0'+byte(us/100%10), '0'+byte(us/10%10), '0'+byte(us%10))
}

// quoted appends a JSON string. Bytes that are not UTF-8 become U+FFFD.
func quoted(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r)
			i += n
			continue
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
		i++
	}
	return append(b, '"')
}

// word appends a space and a value that can be told from what follows: what is not visible ASCII is escaped as in a URL.
func word(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	b = append(b, ' ')
	if s == "" {
		return append(b, '-')
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}
