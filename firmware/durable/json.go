package durable

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// ReadJSON reads a value that WriteJSON has kept; nil, and no error, when there is
// none. A file longer than limit bytes is not ours.
func ReadJSON[T any](path string, limit int64) (*T, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	defer f.Close()
	v := new(T)
	if err := json.NewDecoder(io.LimitReader(f, limit)).Decode(v); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return v, nil
}

// WriteJSON keeps a value over power cuts. Stop before it returns: the value that
// was kept before is there, whole.
func WriteJSON(path string, v any, perm os.FileMode) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return WriteFile(path, append(data, '\n'), perm)
}

// Remove forgets what is kept at path, if anything is. Stop after it returns, and
// it may be back: only what may be known twice is forgotten so.
func Remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget: %w", err)
	}
	return nil
}
