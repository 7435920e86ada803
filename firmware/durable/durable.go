// Package durable replaces files so that a power cut leaves either the old
// content or the new one, whole, and never a name without its bytes.
package durable

import (
	"fmt"
	"os"
	"path/filepath"
)

// WriteFile replaces the file at path with data and returns once a power cut can
// no longer undo it. Concurrent writers of one path must be serialised by the
// caller. What the kernel sees, in order:
//
//	openat(".path.tmp", O_CREAT|O_TRUNC)  stop here: old file, a stray .tmp that the next call reuses
//	write, fsync(file)                    stop here: the same
//	rename(".path.tmp", "path")           stop here: old or new name, both whole
//	fsync(directory)                      stop here: new file
func WriteFile(path string, data []byte, perm os.FileMode) error {
	dir, base := filepath.Split(path)
	tmp := filepath.Join(dir, "."+base+".tmp")
	if err := writeSynced(tmp, data, perm); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return SyncDir(dir)
}

func writeSynced(path string, data []byte, perm os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm) // umask and a stray .tmp must not decide the mode
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// SyncDir makes the names in dir durable: creations, renames and removals that
// returned before the call. An empty dir means the working directory.
func SyncDir(dir string) error {
	if dir == "" {
		dir = "."
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}

// MkdirAll makes path and its missing parents and syncs each directory that
// gained a name, so that a file made durable inside can't lose its folder.
func MkdirAll(path string, perm os.FileMode) error {
	path = filepath.Clean(path)
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return nil
	}
	parent := filepath.Dir(path)
	if parent != path {
		if err := MkdirAll(parent, perm); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, perm); err != nil && !os.IsExist(err) {
		return fmt.Errorf("make directory: %w", err)
	}
	return SyncDir(parent)
}
