package diag

import "strings"

// Nearest gives the name that was most likely meant by got, or "": the same but for case, dashes and underscores, or at
// most one edit in three letters away.
func Nearest(got string, names []string) string {
	if len(got) > 64 {
		return ""
	}
	best, bestDistance := "", len(got)/3+1
	lower, plain := strings.ToLower(got), bare(got)
	for _, name := range names {
		if plain == bare(name) {
			return name
		}
		if max(len(got)-len(name), len(name)-len(got)) >= bestDistance {
			continue
		}
		if d := Distance(lower, strings.ToLower(name)); d < bestDistance {
			best, bestDistance = name, d
		}
	}
	return best
}

// NearestObject is Nearest for names of the form namespace/name: the same name in another namespace, or one of the same namespace that is near.
func NearestObject(got string, names []string) string {
	namespace, name, _ := strings.Cut(got, "/")
	var beside []string
	for _, n := range names {
		switch ns, other, _ := strings.Cut(n, "/"); {
		case other == name:
			return n
		case ns == namespace:
			beside = append(beside, other)
		}
	}
	if near := Nearest(name, beside); near != "" {
		return namespace + "/" + near
	}
	return ""
}

var separators = strings.NewReplacer("_", "", "-", "")

func bare(s string) string { return strings.ToLower(separators.Replace(s)) }

// Distance is the optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
func Distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
