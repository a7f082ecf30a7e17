package app

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

func TestTheClockGoesOnFromTheStartByElapsedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := startClock()
		start := time.Now()
		<-time.After(90 * time.Minute)
		if got := c.now(); !got.Equal(start.Add(90 * time.Minute)) {
			t.Errorf("after 90 minutes the clock says %s, at the start it was %s", got, start)
		}
		if got := c.instant(); got != session.InstantOf(start.Add(90*time.Minute)) {
			t.Errorf("the instant is %d", got)
		}
	})
}

// A wall clock that is set cannot be had in a test, so the rule is checked where it can be broken.
func TestSessionsAreDatedByTheClockOnly(t *testing.T) {
	files, err := filepath.Glob("*.go")
	must(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || name == "clock.go" {
			continue
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "InstantOf" && name != "load.go" { // Paper has no sessions
				t.Errorf("%s makes an instant; the clock does that", set.Position(s.Pos()))
			}
			return true
		})
	}
}
