package config

import (
	"strconv"
	"strings"

	"github.com/remora-proxy/remora/internal/diag"
)

// locator finds the lines of the fields of one object. It is all that stays of the document when the object has been
// decoded, so it is small: 16 bytes for a value, and the names once.
type locator struct {
	file   string
	places []place // breadth first: the members of a place follow each other
	names  []string
}

// place is one value. The first place is the object.
type place struct {
	line  int32
	name  int32 // index into names; -1 for an element of a list
	first int32 // index into places
	count int32
}

func newLocator(file string, root *node) *locator {
	l := &locator{file: file, places: make([]place, 1, 64)}
	l.places[0] = place{line: root.at, name: -1}
	index := map[string]int32{}
	queue := []*node{root}
	for i := 0; i < len(queue); i++ {
		n := queue[i]
		queue[i] = nil
		l.places[i].first, l.places[i].count = int32(len(l.places)), int32(len(n.kids))
		for k := range n.kids {
			kid := &n.kids[k]
			p := place{line: kid.at, name: -1}
			if n.kind == mapping {
				p.name = l.intern(index, kid.key)
			}
			l.places = append(l.places, p)
			queue = append(queue, kid)
		}
	}
	return l
}

func (l *locator) intern(index map[string]int32, name string) int32 {
	i, is := index[name]
	if !is {
		i = int32(len(l.names))
		index[name] = i
		l.names = append(l.names, name)
	}
	return i
}

// Locate implements resource.Locator. A field's place is the line of its key. In the path, members stand after dots, and
// elements of lists and the users' own keys in brackets: spec.http[0].match[1].headers[x-user].exact.
func (l *locator) Locate(field string) diag.Position {
	at := l.places[0]
	for field != "" {
		var name string
		if field[0] == '[' {
			name, field = bracketed(field)
		} else {
			field = strings.TrimPrefix(field, ".")
			end := strings.IndexAny(field, ".[")
			if end < 0 {
				end = len(field)
			}
			name, field = field[:end], field[end:]
		}
		next, ok := l.child(at, name)
		if !ok {
			break
		}
		at = next
	}
	return diag.Position{File: l.file, Line: int(at.line)}
}

// bracketed cuts "[name]" off the front of a path that begins with "[". A bracket closes where the path ends or goes on, so
// that a user's key may hold one.
func bracketed(field string) (name, rest string) {
	for i := 1; i < len(field); i++ {
		if field[i] == ']' && (i+1 == len(field) || field[i+1] == '.' || field[i+1] == '[') {
			return field[1:i], field[i+1:]
		}
	}
	return field[1:], ""
}

func (l *locator) child(of place, name string) (place, bool) {
	kids := l.places[of.first : of.first+of.count]
	if len(kids) == 0 {
		return place{}, false
	}
	if kids[0].name < 0 {
		i, err := strconv.Atoi(name)
		if err != nil || i < 0 || i >= len(kids) {
			return place{}, false
		}
		return kids[i], true
	}
	for _, k := range kids {
		if l.names[k.name] == name {
			return k, true
		}
	}
	return place{}, false
}
