package simulate

import (
	"fmt"
	"strings"
)

// traceLines is how many of the last events a failed schedule tells.
const traceLines = 400

// line is an event of the trace. It is put into words only when somebody reads it.
type line struct {
	at     millis
	format string
	args   [5]int64
}

// trace keeps the last events of a schedule.
type trace struct {
	lines [traceLines]line
	n     int
}

// add writes an event down. format has a %d for each argument, or one of the words that text knows.
func (t *trace) add(at millis, format string, args ...int64) {
	l := &t.lines[t.n%traceLines]
	l.at, l.format = at, format
	copy(l.args[:], args)
	t.n++
}

// text puts the last n events into words. Besides Printf's %d, a format has %r for a replica in an incarnation and %s for a session's state.
func (t *trace) text(w *world, n int) string {
	var b strings.Builder
	for i := max(0, t.n-min(n, traceLines)); i < t.n; i++ {
		l := &t.lines[i%traceLines]
		fmt.Fprintf(&b, "%9.3f s  ", float64(l.at)/1000)
		args := l.args[:]
		for j := 0; j < len(l.format); j++ {
			if l.format[j] != '%' {
				b.WriteByte(l.format[j])
				continue
			}
			j++
			switch a := args[0]; l.format[j] {
			case 'r':
				b.WriteString(w.nameOf(int32(a)))
			case 's':
				b.WriteString(stateNames[a])
			default:
				fmt.Fprint(&b, a)
			}
			args = args[1:]
		}
		b.WriteByte('\n')
	}
	return b.String()
}

var stateNames = [...]string{"none", "new", "existing", "moved"}
