package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that docs/cards.md names against an attack is there.
func TestAttacksAreTested(t *testing.T) {
	page, err := os.ReadFile("../docs/cards.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "## Attacks and their tests")
	table, _, ends := strings.Cut(table, "\n## ")
	if !found || !ends {
		t.Fatal("docs/cards.md has no section of attacks")
	}
	have := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, dir := range []string{".", "../syncd", "../image", "../firmware/floor"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			data, err := os.ReadFile(path)
			for _, m := range function.FindAllStringSubmatch(string(data), -1) {
				have[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rows := strings.Count(table, "\n| ") - 1
	names := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllStringSubmatch(table, -1)
	for _, m := range names {
		if !have[m[1]] {
			t.Errorf("docs/cards.md names %s, which is nowhere", m[1])
		}
	}
	if rows < 20 || len(names) < rows {
		t.Errorf("%d tests in %d rows", len(names), rows)
	}
}
