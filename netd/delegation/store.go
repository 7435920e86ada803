package delegation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"clinicgate/firmware/durable"
)

// maxFile bounds what is read back.
const maxFile = 16 << 10

// load reads a stored lease; without one it returns nil.
func load(path string) (*Lease, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read prefix: %w", err)
	}
	defer f.Close()
	l := new(Lease)
	if err := json.NewDecoder(io.LimitReader(f, maxFile)).Decode(l); err != nil {
		return nil, fmt.Errorf("read prefix %s: %w", path, err)
	}
	return l, nil
}

// save makes the lease survive a power cut; it is called before the lease is used.
// Stop before it returns: the old lease is on disk, whose prefix the server still
// holds for us or denies.
func save(path string, l Lease) error {
	data, err := json.MarshalIndent(l, "", "  ")
	if err != nil {
		return fmt.Errorf("store prefix: %w", err)
	}
	return durable.WriteFile(path, append(data, '\n'), 0o600)
}

// forget removes the stored lease: its server said no.
func forget(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget prefix: %w", err)
	}
	return nil
}
