package config

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var parserMessage = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?(?s:(.*))$`)

// syntaxError puts the parser's error in a user's words, and finds its line. The parser names the line where the mapping or
// list around the mistake begins, often far above it, and counts it from 0 or 1 depending on the error.
func syntaxError(chunk []byte, err error) (line int, what, remedy string) {
	m := parserMessage.FindStringSubmatch(err.Error())
	if m == nil {
		return 1, "not valid YAML: " + err.Error(), ""
	}
	line, _ = strconv.Atoi(m[1])
	message := m[2]
	lines := breaks(chunk) + 1
	defer func() { line = min(max(line, 1), lines) }()
	switch {
	case message == "did not find expected ',' or ']'":
		return line + 1, "a list in [ ] is not closed or lacks a comma, here or below", ""
	case message == "did not find expected ',' or '}'":
		return line + 1, "a mapping in { } is not closed or lacks a comma, here or below", ""
	case message == "found unexpected end of stream":
		return line, "the quotes that begin here are not closed", ""
	case message == "could not find expected ':'":
		return line, "expected a key and a colon", `write "key: value"`
	case strings.HasPrefix(message, "unknown anchor '"):
		name := strings.TrimSuffix(strings.TrimPrefix(message, "unknown anchor '"), "' referenced")
		if before, _, is := bytes.Cut(chunk, []byte("*"+name)); is {
			line = breaks(before) + 1
		}
		return line, "the alias *" + name + " names no anchor above it", "define &" + name + ", or put the value in quotes"
	}
	line = problemLine(chunk, err)
	if tabbed(chunk, line) {
		return line, "a tab in the indentation", "indent with spaces"
	}
	switch message {
	case "did not find expected key", "did not find expected '-' indicator":
		return line, "the indentation does not fit the lines above, or a colon or a dash is missing", ""
	case "mapping values are not allowed in this context":
		return line, `": " is not allowed here`, "put the value in quotes, or mend the indentation"
	case "did not find expected alphabetic or numeric character":
		return line, "an anchor (&) or alias (*) has no name", "put the value in quotes if none is meant"
	case "found character that cannot start any token":
		return line, "a value cannot begin with this character", "put the value in quotes"
	}
	return line, "not valid YAML: " + message, ""
}

// problemLine finds the line at which the parser gives up: it has read that line or, looking ahead, the one after it. Without
// the line that holds the mistake the text above it is valid, or wrong in another way.
func problemLine(chunk []byte, err error) int {
	r := &lineReader{rest: chunk}
	var y yaml.Node
	d := yaml.NewDecoder(r)
	for d.Decode(&y) == nil {
		y = yaml.Node{}
	}
	line := max(r.lines, 1)
	for range 3 {
		if line == 1 || !sameMessage(firstError(firstLines(chunk, line-1)), err) {
			break
		}
		line--
	}
	return line
}

func firstError(chunk []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(chunk))
	for {
		var y yaml.Node
		if err := d.Decode(&y); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func sameMessage(a, b error) bool {
	if a == nil || b == nil {
		return false
	}
	return parserMessage.ReplaceAllString(a.Error(), "$2") == parserMessage.ReplaceAllString(b.Error(), "$2")
}

func firstLines(chunk []byte, n int) []byte {
	at := 0
	for range n {
		i := bytes.IndexByte(chunk[at:], '\n')
		if i < 0 {
			return chunk
		}
		at += i + 1
	}
	return chunk[:at]
}

func tabbed(chunk []byte, line int) bool {
	l := firstLines(chunk, line)[len(firstLines(chunk, line-1)):]
	indent := l[:len(l)-len(bytes.TrimLeft(l, " \t"))]
	return bytes.IndexByte(indent, '\t') >= 0
}

// lineReader gives one line at a time, and counts them.
type lineReader struct {
	rest  []byte
	lines int
	mid   bool
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	if !r.mid {
		r.lines++
	}
	end := bytes.IndexByte(r.rest, '\n') + 1
	if end == 0 {
		end = len(r.rest)
	}
	n := copy(p, r.rest[:end])
	r.rest = r.rest[n:]
	r.mid = n < end
	return n, nil
}
