// Package root assembles the box's root filesystem as a folder tree: our programs,
// the few of Debian's they need, the libraries all of them need, and nothing that
// a person could log in to.
package root

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Tree is a root filesystem under construction. /bin, /sbin, /lib and /lib64 are
// links into /usr, as in Debian.
type Tree struct {
	dir string
}

// New makes an empty tree in dir, replacing what is there.
func New(dir string) (*Tree, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("make root tree: %w", err)
	}
	t := &Tree{filepath.Clean(dir)}
	for _, d := range []string{"usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc", "proc", "sys", "dev", "run", "tmp", "data", "var"} {
		if err := t.folder(filepath.Join(dir, d)); err != nil {
			return nil, fmt.Errorf("make root tree: %w", err)
		}
	}
	for _, l := range []string{"bin", "sbin", "lib", "lib64"} {
		if err := os.Symlink("usr/"+l, filepath.Join(dir, l)); err != nil {
			return nil, fmt.Errorf("make root tree: %w", err)
		}
	}
	if err := os.Symlink("../run", filepath.Join(dir, "var/run")); err != nil {
		return nil, fmt.Errorf("make root tree: %w", err)
	}
	return t, nil
}

// folder makes a folder of the tree and those above it, for everybody to enter
// whatever the umask of who builds.
func (t *Tree) folder(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	for {
		if err := os.Chmod(path, 0o755); err != nil || path == t.dir {
			return err
		}
		path = filepath.Dir(path)
	}
}

// Copy puts the file from, links followed, at the path to.
func (t *Tree) Copy(from, to string, perm os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	return t.Write(to, data, perm)
}

// Write puts a file with that content at the path to.
func (t *Tree) Write(to string, data []byte, perm os.FileMode) error {
	path := filepath.Join(t.dir, merged(to))
	if err := t.folder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if err := os.WriteFile(path, data, perm); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if err := os.Chmod(path, perm); err != nil { // whatever the umask
		return fmt.Errorf("root: %w", err)
	}
	return nil
}

// Link makes a symbolic link.
func (t *Tree) Link(target, to string) error {
	path := filepath.Join(t.dir, merged(to))
	if err := t.folder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if err := os.Symlink(target, path); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	return nil
}

// CopyDir copies the files, not the links to them by other names, of a folder.
func (t *Tree) CopyDir(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return t.Link(target, filepath.Join(to, rel))
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		return t.Copy(path, filepath.Join(to, rel), fi.Mode().Perm())
	})
}

// merged maps the old top-level folders into /usr.
func merged(path string) string {
	path = strings.TrimPrefix(filepath.Clean(path), "/")
	for _, l := range []string{"bin/", "sbin/", "lib/", "lib64/"} {
		if strings.HasPrefix(path, l) {
			return "usr/" + path
		}
	}
	return path
}
