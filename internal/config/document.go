package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/remora-proxy/remora/internal/diag"
)

// maxMarks bounds the characters of one document that may begin a value: the parser's tree takes a few hundred bytes for
// each, and it is built before anything can be counted in it.
const maxMarks = 2 * maxElements

// maxDocuments bounds the documents of one file.
const maxDocuments = 50_000

// chunks cuts a stream of documents where a line begins with "---", as YAML demands and kubectl does, so that a document
// with a mistake in it does not hide the others, and so that only one document's tree is in memory at a time. It gives each
// with the number of lines before it.
func chunks(data []byte) iter.Seq2[int, []byte] {
	return func(yield func(int, []byte) bool) {
		line, first, start, bare := 0, 0, 0, true
		for at := 0; at < len(data); {
			end := len(data)
			if i := bytes.IndexByte(data[at:], '\n'); i >= 0 {
				end = at + i + 1
			}
			l := data[at:end]
			if separates(l) {
				if !bare {
					if !yield(first, data[start:at]) {
						return
					}
					first, start = line, at
				}
				bare = false
			} else if t := bytes.TrimSpace(l); len(t) > 0 && t[0] != '#' && t[0] != '%' {
				bare = false // no longer only comments and directives, which belong to the document after them
			}
			at = end
			line += breaks(l)
		}
		if start < len(data) {
			yield(first, data[start:])
		}
	}
}

// breaks counts the ends of lines, as YAML 1.1 and the parser know them: LF, CR, CR LF, and three of Unicode's.
func breaks(data []byte) int {
	n := bytes.Count(data, []byte("\n"))
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '\r':
			if i+1 == len(data) || data[i+1] != '\n' {
				n++
			}
		case 0xc2: // NEL
			if i+1 < len(data) && data[i+1] == 0x85 {
				n++
			}
		case 0xe2: // LS, PS
			if i+2 < len(data) && data[i+1] == 0x80 && (data[i+2] == 0xa8 || data[i+2] == 0xa9) {
				n++
			}
		}
	}
	return n
}

func separates(line []byte) bool {
	rest, is := bytes.CutPrefix(line, []byte("---"))
	return is && (len(rest) == 0 || strings.IndexByte(" \t\r\n", rest[0]) >= 0)
}

// blank reports whether there is nothing but comments.
func blank(chunk []byte) bool {
	for line := range bytes.Lines(chunk) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return false
		}
	}
	return true
}

// parse gives the documents of one file, one at a time: each takes several times its text.
func parse(file string, data []byte, report *reporter, each func(*node)) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if line, what := unreadable(data); what != "" {
		report.errorAt(diag.Position{File: file, Line: line}, "", "", what, "save the file as plain text in UTF-8")
		return
	}
	count := 0
	for offset, chunk := range chunks(data) {
		if blank(chunk) {
			continue
		}
		if count++; count > maxDocuments {
			report.errorAt(diag.Position{File: file, Line: offset + 1}, "", "", fmt.Sprintf("more than %d documents", maxDocuments), "split the file into several")
			break
		}
		if n := marks(chunk); n > maxMarks {
			report.errorAt(diag.Position{File: file, Line: offset + 1}, "", "",
				fmt.Sprintf("the document is too large: %d characters in it may begin a value, at most %d are read", n, maxMarks), "split it into several")
			continue
		}
		parseChunk(file, offset, chunk, report, each)
	}
}

func parseChunk(file string, offset int, chunk []byte, report *reporter, each func(*node)) {
	decoder := yaml.NewDecoder(bytes.NewReader(chunk))
	for {
		var y yaml.Node
		err := decoder.Decode(&y)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			line, what, remedy := syntaxError(chunk, err)
			report.errorAt(diag.Position{File: file, Line: line + offset}, "", "", what, remedy)
			return
		}
		if len(y.Content) == 0 {
			continue
		}
		b := builder{report: report, file: file, offset: offset, root: y.Content[0], open: map[*yaml.Node]bool{}}
		if n, ok := b.build(b.root, 0); ok && n.kind != null {
			each(&n)
		}
	}
}

// unreadable finds the first byte that YAML does not allow in a file, which the parser reports without a line.
func unreadable(data []byte) (line int, what string) {
	for i := 0; i < len(data); {
		r, size := rune(data[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(data[i:])
		}
		switch {
		case r == utf8.RuneError && size == 1:
			what = fmt.Sprintf("a byte that is not UTF-8 (0x%02x)", data[i])
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85, r == 0xfffe, r == 0xffff, r == 0xfeff:
			what = fmt.Sprintf("a character that YAML does not allow (%U)", r)
		}
		if what != "" {
			return breaks(data[:i]) + 1, what
		}
		i += size
	}
	return 0, ""
}

// marks is an upper bound of the number of values in a document, up to a factor: each begins after one of these.
func marks(chunk []byte) int {
	n := 0
	for _, c := range chunk {
		switch c {
		case '\n', ',', '[', '{', ':', '-', '?':
			n++
		}
	}
	return n
}
