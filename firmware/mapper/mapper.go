// Package mapper makes device-mapper devices by the kernel's own interface
// (linux/dm-ioctl.h), so that the box needs no dmsetup: a device either carries
// its whole table or does not exist.
package mapper

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sector is the unit of tables, in bytes, whatever the disk's own is.
const sector = 512

// Target is one stretch of a device.
type Target struct {
	Kind   string // "verity", "crypt", "linear"
	Bytes  int64  // its length, a multiple of 512
	Params string // in the target's own language
}

// Device names what to make.
type Device struct {
	Name     string // at most 127 bytes
	ReadOnly bool
	Targets  []Target
}

// Create makes the device and returns its node under /dev. Stop here, between
// any two calls to the kernel: device-mapper tables live in memory only, a
// restart begins without them.
func Create(d Device) (node string, err error) {
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("map %s: %w", d.Name, err)
	}
	defer control.Close()
	made, err := call(control, unix.DM_DEV_CREATE, d.Name, 0, 0, nil)
	if err != nil {
		return "", fmt.Errorf("map %s: create: %w", d.Name, err)
	}
	defer func() {
		if err != nil {
			_, undo := call(control, unix.DM_DEV_REMOVE, d.Name, 0, 0, nil)
			err = errors.Join(err, undo)
		}
	}()
	table, err := encode(d.Targets)
	if err != nil {
		return "", fmt.Errorf("map %s: %w", d.Name, err)
	}
	flags := uint32(0)
	if d.ReadOnly {
		flags = unix.DM_READONLY_FLAG
	}
	if _, err := call(control, unix.DM_TABLE_LOAD, d.Name, flags, uint32(len(d.Targets)), table); err != nil {
		return "", fmt.Errorf("map %s: load table: %w", d.Name, err)
	}
	// Without the suspend flag this call starts the device with its new table.
	if _, err := call(control, unix.DM_DEV_SUSPEND, d.Name, flags, 0, nil); err != nil {
		return "", fmt.Errorf("map %s: start: %w", d.Name, err)
	}
	return "/dev/dm-" + strconv.Itoa(int(unix.Minor(made.Dev))), nil
}

// Remove ends the device of that name.
func Remove(name string) error {
	control, err := os.OpenFile("/dev/mapper/control", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("unmap %s: %w", name, err)
	}
	defer control.Close()
	if _, err := call(control, unix.DM_DEV_REMOVE, name, 0, 0, nil); err != nil {
		return fmt.Errorf("unmap %s: %w", name, err)
	}
	return nil
}

// Number is a block device as tables name it, MAJOR:MINOR.
func Number(node string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(node, &st); err != nil {
		return "", fmt.Errorf("look at %s: %w", node, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return "", fmt.Errorf("look at %s: not a block device", filepath.Clean(node))
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev)), nil
}

// specSize is that of struct dm_target_spec.
const specSize = int(unsafe.Sizeof(unix.DmTargetSpec{}))

// encode lays targets out as the kernel wants them: each specification, its
// parameters with a zero, filled up to 8 bytes.
func encode(targets []Target) ([]byte, error) {
	var out bytes.Buffer
	at := int64(0)
	for _, t := range targets {
		if t.Bytes <= 0 || t.Bytes%sector != 0 || len(t.Kind) >= unix.DM_MAX_TYPE_NAME || strings.Contains(t.Params, "\x00") {
			return nil, fmt.Errorf("target %s: got %d bytes, want a positive multiple of %d", t.Kind, t.Bytes, sector)
		}
		size := (specSize + len(t.Params) + 1 + 7) &^ 7
		spec := unix.DmTargetSpec{Sector_start: uint64(at / sector), Length: uint64(t.Bytes / sector), Next: uint32(size)}
		copy(spec.Target_type[:], t.Kind)
		begin := out.Len()
		if err := binary.Write(&out, binary.NativeEndian, spec); err != nil {
			return nil, err
		}
		out.WriteString(t.Params)
		out.Write(make([]byte, size-(out.Len()-begin)))
		at += t.Bytes
	}
	return out.Bytes(), nil
}

// call is one request to the kernel and its answer.
func call(control *os.File, request uintptr, name string, flags, targets uint32, data []byte) (*unix.DmIoctl, error) {
	if len(name) == 0 || len(name) >= unix.DM_NAME_LEN {
		return nil, fmt.Errorf("got a name of %d bytes, want 1 to %d", len(name), unix.DM_NAME_LEN-1)
	}
	head := unix.DmIoctl{
		Version:    [3]uint32{unix.DM_VERSION_MAJOR, 0, 0}, // the oldest the kernel may speak
		Data_start: unix.SizeofDmIoctl, Target_count: targets, Flags: flags,
	}
	copy(head.Name[:], name)
	head.Data_size = uint32(unix.SizeofDmIoctl + len(data))
	buf := make([]byte, int(head.Data_size)+8) // aligned like the structure by its size
	*(*unix.DmIoctl)(unsafe.Pointer(&buf[0])) = head
	copy(buf[unix.SizeofDmIoctl:], data)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, control.Fd(), request, uintptr(unsafe.Pointer(&buf[0])))
	if errno != 0 {
		return nil, errno
	}
	answer := *(*unix.DmIoctl)(unsafe.Pointer(&buf[0]))
	return &answer, nil
}
