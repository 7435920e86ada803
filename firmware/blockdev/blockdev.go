// Package blockdev finds block devices by what is on them, never by a kernel name
// that another boot may give to another disk.
package blockdev

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Finder looks through one system's block devices.
type Finder struct {
	Sys string // "/sys"
	Dev string // "/dev"
}

// Partition returns the device of the GPT partition with that name.
func (f Finder) Partition(name string) (string, error) {
	for _, dev := range f.devices() {
		text, err := os.ReadFile(filepath.Join(f.Sys, "class/block", dev, "uevent"))
		if err != nil {
			continue // unplugged meanwhile
		}
		for line := range strings.Lines(string(text)) {
			if strings.TrimSpace(line) == "PARTNAME="+name {
				return filepath.Join(f.Dev, dev), nil
			}
		}
	}
	return "", fmt.Errorf("no partition is called %q", name)
}

// FAT returns the device that holds a FAT filesystem with that label, as a whole
// disk or as a partition.
func (f Finder) FAT(label string) (string, error) {
	for _, dev := range f.devices() {
		path := filepath.Join(f.Dev, dev)
		if got, ok := readFATLabel(path); ok && got == label {
			return path, nil
		}
	}
	return "", fmt.Errorf("no FAT filesystem is labelled %q", label)
}

func (f Finder) devices() []string {
	entries, err := os.ReadDir(filepath.Join(f.Sys, "class/block"))
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Wait calls find until it succeeds, limit has passed or ctx ends; devices appear
// a while after their drivers.
func Wait(ctx context.Context, limit time.Duration, find func() (string, error)) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		dev, err := find()
		if err == nil {
			return dev, nil
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("%w after %v", err, limit)
		case <-tick.C:
		}
	}
}

func readFATLabel(path string) (string, bool) {
	d, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer d.Close()
	sector := make([]byte, 512)
	if _, err := io.ReadFull(d, sector); err != nil {
		return "", false
	}
	return FATLabel(sector)
}

// FATLabel returns the volume label in a FAT boot sector (Microsoft FAT32 File
// System Specification 1.03, p. 11-12), and whether the sector is one.
func FATLabel(sector []byte) (string, bool) {
	if len(sector) < 512 || binary.LittleEndian.Uint16(sector[510:]) != 0xaa55 {
		return "", false
	}
	for _, at := range []struct{ signature, label, kind int }{{38, 43, 54}, {66, 71, 82}} { // FAT12/16, FAT32
		if sector[at.signature] == 0x29 && bytes.HasPrefix(sector[at.kind:], []byte("FAT")) {
			return strings.TrimRight(string(sector[at.label:at.label+11]), " "), true
		}
	}
	return "", false
}
