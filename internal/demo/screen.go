package demo

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// width is how many characters a line of the tour has at most.
const width = 100

// style is how a part of the output looks on a terminal: the parameter of the escape sequence "select graphic rendition"
// (ECMA-48, 8.3.117).
type style string

const (
	plain style = ""
	bold  style = "1"
	faint style = "2"
	red   style = "1;31"
	green style = "32"
)

// screen prints the tour.
type screen struct {
	w      io.Writer
	colour bool
}

// in gives a text a style.
func (s *screen) in(st style, text string) string {
	if !s.colour || st == plain {
		return text
	}
	return "\x1b[" + string(st) + "m" + text + "\x1b[0m"
}

// print prints a text at an indentation, on as many lines as it needs; further lines go two characters in.
func (s *screen) print(st style, indent int, format string, args ...any) {
	for i, line := range wrap(fmt.Sprintf(format, args...), width-indent-2) {
		pad := strings.Repeat(" ", indent)
		if i > 0 {
			pad += "  "
		}
		fmt.Fprintln(s.w, pad+s.in(st, line))
	}
}

func (s *screen) blank() { fmt.Fprintln(s.w) }

// wrap cuts a text at spaces into lines of at most limit characters, where there are spaces. Its own line ends stay.
func wrap(text string, limit int) []string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		for utf8.RuneCountInString(line) > limit {
			at := strings.LastIndexByte(string([]rune(line)[:limit+1]), ' ')
			if at <= 0 { // one word is longer than a line
				if at = strings.IndexByte(line, ' '); at <= 0 {
					break
				}
			}
			lines = append(lines, line[:at])
			line = strings.TrimLeft(line[at:], " ")
		}
		lines = append(lines, line)
	}
	return lines
}
