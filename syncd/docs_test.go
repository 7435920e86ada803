package main

import (
	"regexp"
	"slices"
	"testing"
)

// docs/records.md lists exactly the faults this program can raise.
func TestFaultsAreDocumented(t *testing.T) {
	find := func(file, pattern string) []string {
		var ids []string
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(readFile(t, file), -1) {
			ids = append(ids, m[1])
		}
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	code := find("state.go", `fault[A-Z]\w+\s+= "(sync\.[a-z-]+)"`)
	docs := find("../docs/records.md", "(?m)^\\| `(sync\\.[a-z-]+)` \\|")
	if len(code) == 0 || !slices.Equal(code, docs) {
		t.Errorf("raised %q, documented %q", code, docs)
	}
}
