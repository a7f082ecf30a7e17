package archtest

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A package's doc has to say what the package is for and what it may not know: that does not fit on one line.
const (
	docLines = 2
	docChars = 120
)

// CheckPackageDocs reports packages whose doc is missing or says next to nothing.
func CheckPackageDocs(m *Module) []Violation {
	docs := map[string]string{}
	for _, f := range m.code() {
		docs[f.Dir] += f.Syntax.Doc.Text()
	}
	var found []Violation
	for _, dir := range slices.Sorted(maps.Keys(docs)) {
		doc := strings.TrimSpace(docs[dir])
		switch {
		case doc == "":
			found = append(found, Violation{dir, "the package has no doc", "say above its package clause what it is for and what it may not know"})
		case len(doc) < docChars || strings.Count(doc, "\n")+1 < docLines:
			found = append(found, Violation{dir, "the package's doc is a single remark", "say what it is for and what it may not know"})
		}
	}
	return found
}

var dependencyRow = regexp.MustCompile("(?m)^\\| `([^`]+)` \\|(.*)\\|$")

// DependenciesFile is where each direct dependency has its reason.
const DependenciesFile = "docs/dependencies.md"

// CheckDependencies reports direct dependencies that DependenciesFile gives no reason for, reasons for what is not a direct
// dependency, and differences between the direct dependencies in go.mod and what Go files import.
func CheckDependencies(m *Module) []Violation {
	var found []Violation
	reasons := map[string]bool{}
	for _, row := range dependencyRow.FindAllStringSubmatch(m.Markdown[DependenciesFile], -1) {
		module, reason := row[1], strings.TrimSpace(row[2])
		reasons[module] = true
		if reason == "" {
			found = append(found, Violation{DependenciesFile, module + " has no reason", "say in one line what it is needed for"})
		}
		if !slices.Contains(m.Requires, module) {
			found = append(found, Violation{DependenciesFile, module + " is no direct dependency in go.mod", "take the line out"})
		}
	}
	unused := slices.Clone(m.Requires)
	for _, f := range m.Files {
		for _, spec := range f.Syntax.Imports {
			target := importPath(spec)
			if isStandard(target) || within(target, m.Path) {
				continue
			}
			provides := func(module string) bool { return within(target, module) }
			if !slices.ContainsFunc(m.Requires, provides) {
				found = append(found, Violation{m.at(spec.Pos()), target + " is of no direct dependency in go.mod", "run go mod tidy"})
			}
			unused = slices.DeleteFunc(unused, provides)
		}
	}
	for _, module := range m.Requires {
		if !reasons[module] {
			found = append(found, Violation{"go.mod", module + " is not in " + DependenciesFile, "add it with its reason in one line, or do without it"})
		}
	}
	for _, module := range unused {
		found = append(found, Violation{"go.mod", "nothing imports " + module, "run go mod tidy"})
	}
	return found
}

var (
	fenced    = regexp.MustCompile("(?ms)^[ \t]*(```|~~~).*?^[ \t]*(```|~~~)[ \t]*$")
	inline    = regexp.MustCompile("`[^`\n]*`")
	treePath  = regexp.MustCompile("`((?:api|bench|cmd|deploy|docs|examples|internal|tools)/[a-zA-Z0-9_./-]*)`")
	link      = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?[^)]*\)`)
	reference = regexp.MustCompile(`(?m)^\s*\[[^\]]+\]:\s+<?(\S+?)>?\s*$`)
	heading   = regexp.MustCompile(`(?m)^#{1,6}\s+(.+?)\s*#*$`)
	scheme    = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
)

// CheckLinks reports links in Markdown files that lead to a file or a heading that is not in the repository. Links to other
// sites are not looked at.
func CheckLinks(m *Module) []Violation {
	var found []Violation
	for _, file := range slices.Sorted(maps.Keys(m.Markdown)) {
		text := blank(m.Markdown[file], fenced)
		prose := blank(text, inline)
		for _, re := range []*regexp.Regexp{link, reference} {
			for _, at := range re.FindAllStringSubmatchIndex(prose, -1) {
				target := prose[at[2]:at[3]]
				if what := m.judgeLink(file, target); what != "" {
					where := fmt.Sprintf("%s:%d", file, strings.Count(prose[:at[2]], "\n")+1)
					found = append(found, Violation{where, what, "mend the link"})
				}
			}
		}
	}
	return found
}

// CheckPaths reports paths of this repository that a document names and that are not there. The change log is left alone:
// it speaks of the past.
func CheckPaths(m *Module) []Violation {
	var found []Violation
	for _, file := range slices.Sorted(maps.Keys(m.Markdown)) {
		if path.Base(file) == "CHANGELOG.md" {
			continue
		}
		text := blank(m.Markdown[file], fenced)
		for _, at := range treePath.FindAllStringSubmatchIndex(text, -1) {
			if name := text[at[2]:at[3]]; !m.Paths[path.Clean(name)] {
				where := fmt.Sprintf("%s:%d", file, strings.Count(text[:at[2]], "\n")+1)
				found = append(found, Violation{where, name + " is not there", "name the place where it is now"})
			}
		}
	}
	return found
}

// judgeLink says what is wrong with a link in a file, or nothing.
func (m *Module) judgeLink(file, target string) string {
	if scheme.MatchString(target) || strings.HasPrefix(target, "//") {
		return ""
	}
	name, fragment, _ := strings.Cut(target, "#")
	dest := file
	if name != "" {
		dest = path.Join(path.Dir(file), name)
		if !m.Paths[dest] {
			return fmt.Sprintf("the link to %s leads nowhere: %s is not there", target, dest)
		}
	}
	text, ok := m.Markdown[dest]
	if fragment == "" || !ok {
		return ""
	}
	if !slices.Contains(anchors(text), fragment) {
		return fmt.Sprintf("the link to %s leads nowhere: %s has no such heading", target, dest)
	}
	return ""
}

// anchors are the fragments of a document's headings, made as GitHub does: lower case, spaces to hyphens, other punctuation
// dropped, and -1, -2 … appended to repetitions.
func anchors(text string) []string {
	var all []string
	seen := map[string]int{}
	for _, h := range heading.FindAllStringSubmatch(blank(text, fenced), -1) {
		a := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, h[1])
		if n := seen[a]; n > 0 {
			all = append(all, fmt.Sprintf("%s-%d", a, n))
		} else {
			all = append(all, a)
		}
		seen[a]++
	}
	return all
}

// blank replaces what re matches by nothing but its line ends, so that line numbers stay.
func blank(text string, re *regexp.Regexp) string {
	return re.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("\n", strings.Count(s, "\n")) })
}
