// Package deb brings Debian packages from the signed archive at versions and
// hashes held in a lock file, and unpacks them without installing anything.
package deb

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Package is one version of a package as the archive's signed index has it.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
}

// Lock is the packages of one image, in the order the image lists them.
type Lock struct {
	Packages []Package `json:"packages"`
}

// ReadLock reads a lock file.
func ReadLock(path string) (*Lock, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read lock: %w", err)
	}
	l := &Lock{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(l); err != nil {
		return nil, fmt.Errorf("read lock %s: %w", path, err)
	}
	for _, p := range l.Packages {
		if p.Name == "" || p.Version == "" || len(p.SHA256) != 64 {
			return nil, fmt.Errorf("read lock %s: package %q: name, version and sha256 are wanted", path, p.Name)
		}
	}
	return l, nil
}

// Write writes the lock file.
func (l *Lock) Write(path string) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// Find returns the locked package with that name, or nil.
func (l *Lock) Find(name string) *Package {
	for i := range l.Packages {
		if l.Packages[i].Name == name {
			return &l.Packages[i]
		}
	}
	return nil
}

// control is one paragraph of a package index (Debian policy, §5.1): fields of one
// line are enough for us, continued lines are skipped.
func control(text []byte) map[string]string {
	fields := map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if line == "" {
			break
		}
		if k, v, ok := strings.Cut(line, ":"); ok && line[0] != ' ' && line[0] != '\t' {
			fields[k] = strings.TrimSpace(v)
		}
	}
	return fields
}

func parsePackage(text []byte) (Package, error) {
	f := control(text)
	size, err := strconv.ParseInt(f["Size"], 10, 64)
	p := Package{Name: f["Package"], Version: f["Version"], Arch: f["Architecture"], Size: size, SHA256: f["SHA256"]}
	if err != nil || p.Name == "" || p.Version == "" || len(p.SHA256) != 64 {
		return Package{}, fmt.Errorf("package index: %q: got no name, version, size or sha256", p.Name)
	}
	return p, nil
}
