package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// root is the module's folder, seen from here.
const root = "../.."

// module is the path every package of ours starts with.
const module = "clinicgate"

// A pkg is what `go list` says of one package.
type pkg struct {
	ImportPath, Dir, Name, Doc         string
	GoFiles, CgoFiles                  []string
	Imports, TestImports, XTestImports []string
}

// path is the package's folder relative to the module: "netd/plan".
func (p pkg) path() string { return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/") }

// component is the top-level folder.
func component(path string) string { return strings.SplitN(path, "/", 2)[0] }

// ours reports whether an import is this module's, and its path in it.
func ours(imp string) (string, bool) { return strings.CutPrefix(imp, module+"/") }

// list returns all packages of the module, with cgo files seen.
func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,Name,Doc,GoFiles,CgoFiles,Imports,TestImports,XTestImports", "./...")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// A row of a table in ARCHITECTURE.md, by column title.
type row map[string]string

// table reads the table under the heading "## TITLE" or "### TITLE".
func table(t *testing.T, title string) []row {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "# "+title+"\n")
	if !found {
		t.Fatalf("ARCHITECTURE.md has no section %q", title)
	}
	var titles []string
	var rows []row
	for line := range strings.Lines(section) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			break
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if titles == nil {
			titles = cells
			continue
		}
		if len(cells) != len(titles) {
			t.Fatalf("ARCHITECTURE.md, %s: %q has %d cells, want %d", title, line, len(cells), len(titles))
		}
		r := row{}
		for i, c := range cells {
			r[titles[i]] = c
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		t.Fatalf("ARCHITECTURE.md: section %q has no table", title)
	}
	return rows
}

var quoted = regexp.MustCompile("`([^`]+)`")

// names returns the words in backquotes.
func names(cell string) []string {
	var all []string
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}
