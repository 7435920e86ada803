// Package wirefile puts wire files into the run directory and reads them back. A
// reader sees the old file or the new one, never a part.
package wirefile

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"clinicgate/firmware/watch"
)

// maxSize bounds what a reader takes in; the largest real file is a few dozen KiB.
const maxSize = 4 << 20

// Publish replaces the file name in the run directory dir with v. The directory
// is memory-backed, so nothing is synced: a wire file does not outlive a boot.
func Publish(dir, name string, v any, perm os.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	tmp := filepath.Join(dir, "."+name+".tmp")
	if err := os.WriteFile(tmp, append(data, '\n'), perm); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("publish %s: %w", name, err)
	}
	return nil
}

// Read decodes the file name in dir into a new T. It returns fs.ErrNotExist while
// the producer has not published.
func Read[T any](dir, name string) (*T, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("read wire file: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read wire file: %w", err)
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("read wire file %s: larger than %d bytes", name, maxSize)
	}
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("read wire file %s: %w", name, err)
	}
	return v, nil
}

// Follow calls got with the content of the file name in dir: at the start and
// after each publication, with nil while there is none. An unreadable file is
// passed to bad and changes nothing else. It returns when ctx ends.
func Follow[T any](ctx context.Context, dir, name string, got func(*T), bad func(error)) error {
	return watch.File(ctx, filepath.Join(dir, name), func() {
		v, err := Read[T](dir, name)
		switch {
		case err == nil:
			got(v)
		case errors.Is(err, fs.ErrNotExist):
			got(nil)
		default:
			bad(err)
		}
	})
}
