package archtest

import (
	"fmt"
	"go/ast"
)

// Limits of length. The aims are what to write towards; a rule that fails at the aim makes people cut in bad places, so it
// fails a little later.
const (
	fileAim, fileLimit = 400, 450
	funcAim, funcLimit = 70, 80
)

// CheckSizes reports files and functions that are too long to be read in one go. Tests and generated files may be longer.
func CheckSizes(m *Module) []Violation {
	var found []Violation
	for _, f := range m.code() {
		if f.Generated {
			continue
		}
		if f.Lines > fileLimit {
			found = append(found, Violation{
				f.Path, fmt.Sprintf("has %d lines", f.Lines),
				fmt.Sprintf("files go to about %d: split it by what its parts are about", fileAim),
			})
		}
		for _, decl := range f.Syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := m.fset.Position(fn.End()).Line - m.fset.Position(fn.Pos()).Line + 1; n > funcLimit {
				found = append(found, Violation{
					m.at(fn.Pos()), fmt.Sprintf("func %s has %d lines", fn.Name.Name, n),
					fmt.Sprintf("functions go to about %d: give its steps names", funcAim),
				})
			}
		}
	}
	return found
}
