// Package archtest holds the rules that the code base as a whole keeps and that no compiler checks: which way imports
// point, what the decision core may not do, that every package says what it is for, how long files and functions get, and
// that the documents agree with the tree. Its tests run the rules over this module.
//
// A rule is a function from a Module to violations, so each can be shown to fail on a few lines of made-up source. The
// package reads source text only: it builds nothing and runs nothing, and so sees the files of every build tag.
package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Module is the source of one Go module.
type Module struct {
	Path     string            // the module's path, as in go.mod
	Requires []string          // the direct dependencies in go.mod, in its order
	Files    []*File           // Go files, by path
	Markdown map[string]string // text of each .md file, by path
	Paths    map[string]bool   // every file and folder that a link can lead to
	fset     *token.FileSet
}

// File is one Go file.
type File struct {
	Path      string // from the module's root, with slashes
	Dir       string // its folder: "." for the root
	Lines     int
	Test      bool // a _test.go file
	Generated bool // carries the line "Code generated … DO NOT EDIT."
	Syntax    *ast.File
}

// Violation is one place where a rule is broken.
type Violation struct {
	Where string // file:line, or a file
	What  string // what is wrong
	Do    string // what to do about it
}

func (v Violation) String() string { return v.Where + ": " + v.What + "; " + v.Do }

// skipped are folders that hold nothing of the module's own.
var skipped = map[string]bool{".git": true, ".cache": true, "bin": true, "vendor": true, "node_modules": true}

// Load reads the module whose root is fsys. Folders named testdata and folders with a go.mod of their own are not searched
// for Go files.
func Load(fsys fs.FS) (*Module, error) {
	m := &Module{Markdown: map[string]string{}, Paths: map[string]bool{}, fset: token.NewFileSet()}
	mod, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return nil, fmt.Errorf("archtest: not the root of a module: %w", err)
	}
	m.parseGoMod(string(mod))
	err = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && skipped[d.Name()] {
			return fs.SkipDir
		}
		m.Paths[name] = true
		if d.IsDir() {
			return nil
		}
		return m.add(fsys, name)
	})
	return m, err
}

// add takes one file into the module, if it is of a kind that rules look at.
func (m *Module) add(fsys fs.FS, name string) error {
	isGo := strings.HasSuffix(name, ".go") && m.ownsGo(fsys, path.Dir(name))
	if !isGo && !strings.HasSuffix(name, ".md") {
		return nil
	}
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	if !isGo {
		m.Markdown[name] = string(text)
		return nil
	}
	syntax, err := parser.ParseFile(m.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	m.Files = append(m.Files, &File{
		Path:      name,
		Dir:       path.Dir(name),
		Lines:     strings.Count(string(text), "\n"),
		Test:      strings.HasSuffix(name, "_test.go"),
		Generated: ast.IsGenerated(syntax),
		Syntax:    syntax,
	})
	return nil
}

// ownsGo reports whether Go files in dir are built as a part of the module.
func (m *Module) ownsGo(fsys fs.FS, dir string) bool {
	for ; dir != "."; dir = path.Dir(dir) {
		if path.Base(dir) == "testdata" {
			return false
		}
		if _, err := fs.Stat(fsys, dir+"/go.mod"); err == nil {
			return false
		}
	}
	return true
}

// parseGoMod reads the module's path and its direct dependencies, in the layout that the go command gives go.mod.
func (m *Module) parseGoMod(text string) {
	inRequire := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		words := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "module "):
			m.Path = words[1]
		case line == "require (":
			inRequire = true
		case line == ")":
			inRequire = false
		case strings.HasPrefix(line, "require ") && !strings.HasSuffix(line, "// indirect"):
			m.Requires = append(m.Requires, words[1])
		case inRequire && len(words) >= 2 && !strings.HasSuffix(line, "// indirect"):
			m.Requires = append(m.Requires, words[0])
		}
	}
}

// at is file:line of a node.
func (m *Module) at(pos token.Pos) string {
	p := m.fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// code is the files that are built into programs.
func (m *Module) code() []*File {
	return slices.DeleteFunc(slices.Clone(m.Files), func(f *File) bool { return f.Test })
}
