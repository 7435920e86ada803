// Package module loads kernel modules in the order the image build worked out, so
// that nothing on the box resolves dependencies and nothing is loaded by surprise.
package module

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Entry is one module: a file, relative to a root, and its parameters.
type Entry struct {
	Path   string
	Params string
}

// Parse reads an order list: one module a line, "path params…".
func Parse(text string) []Entry {
	var all []Entry
	for line := range strings.Lines(text) {
		if path, params, _ := strings.Cut(strings.TrimSpace(line), " "); path != "" {
			all = append(all, Entry{path, params})
		}
	}
	return all
}

// Format writes the list that Parse reads.
func Format(entries []Entry) string {
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(strings.TrimSpace(e.Path+" "+e.Params) + "\n")
	}
	return b.String()
}

// LoadList loads the modules of the order list at path below root. One that fails
// does not keep the others from loading; the error joins all failures.
func LoadList(root, path string) error {
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return fmt.Errorf("load modules: %w", err)
	}
	var all []error
	for _, e := range Parse(string(text)) {
		if err := load(root, e); err != nil {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

func load(root string, e Entry) error {
	f, err := os.Open(filepath.Join(root, e.Path))
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer f.Close()
	err = unix.FinitModule(int(f.Fd()), e.Params, 0)
	if err != nil && err != unix.EEXIST { // loaded already
		return fmt.Errorf("load module %s: %w", filepath.Base(e.Path), err)
	}
	return nil
}
