// Package efivar reads and writes the firmware's variables through the kernel's
// efivarfs: a variable is either as it was or as it was written, whole, by the
// firmware's own fault-tolerant write.
package efivar

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Vars is a mounted efivarfs.
type Vars struct {
	Dir string // "/sys/firmware/efi/efivars"
}

// ErrNone is wrapped by Get for a variable that does not exist.
var ErrNone = errors.New("no such variable")

// Attributes of a variable that outlives a restart and that the running system
// may see (UEFI 2.10, section 8.2).
const lasting = 0x7 // non-volatile, boot service access, runtime access

// immutable is FS_IMMUTABLE_FL of linux/fs.h.
const immutable = 0x10

// limit of a variable's size; boot variables have a few hundred bytes.
const limit = 64 << 10

func (v Vars) path(name, vendor string) string { return filepath.Join(v.Dir, name+"-"+vendor) }

// Get returns a variable's content.
func (v Vars) Get(name, vendor string) ([]byte, error) {
	f, err := os.Open(v.path(name, vendor))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("firmware variable %s: %w", name, ErrNone)
	}
	if err != nil {
		return nil, fmt.Errorf("firmware variable: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, fmt.Errorf("firmware variable: %w", err)
	}
	if len(data) < 4 { // attributes come first
		return nil, fmt.Errorf("firmware variable %s: got %d bytes, want 4 or more", name, len(data))
	}
	return data[4:], nil
}

// Set writes a variable that outlives restarts. efivarfs takes attributes and
// content in one write and passes them to the firmware as one change.
func (v Vars) Set(name, vendor string, content []byte) error {
	if err := v.unlock(name, vendor); err != nil {
		return err
	}
	data := append(binary.LittleEndian.AppendUint32(nil, lasting), content...)
	f, err := os.OpenFile(v.path(name, vendor), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("set firmware variable: %w", err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("set firmware variable %s: %w", name, err)
	}
	return nil
}

// Delete removes a variable, if it is there.
func (v Vars) Delete(name, vendor string) error {
	if err := v.unlock(name, vendor); err != nil {
		return err
	}
	if err := os.Remove(v.path(name, vendor)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete firmware variable: %w", err)
	}
	return nil
}

// unlock takes off the immutable flag with which the kernel protects variables
// from careless removal. Other filesystems, in tests, don't have it.
func (v Vars) unlock(name, vendor string) error {
	f, err := os.Open(v.path(name, vendor))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("firmware variable: %w", err)
	}
	defer f.Close()
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil || flags&immutable == 0 {
		return nil
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags&^immutable); err != nil {
		return fmt.Errorf("unlock firmware variable %s: %w", name, err)
	}
	return nil
}
