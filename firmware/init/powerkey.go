package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watchPowerKey asks for an orderly end when someone presses the power button.
// The kernel only reports it, as an input device of its own.
func watchPowerKey(sys, dev string, endings chan<- ending) error {
	names, err := filepath.Glob(filepath.Join(sys, "class/input/event*/device/name"))
	if err != nil {
		return err
	}
	found := false
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(name)) != "Power Button" {
			continue
		}
		event := filepath.Base(filepath.Dir(filepath.Dir(path)))
		f, err := os.Open(filepath.Join(dev, "input", event))
		if err != nil {
			return fmt.Errorf("watch power button: %w", err)
		}
		found = true
		go func() {
			defer f.Close()
			if powerPressed(f) {
				endings <- powerOff
			}
		}()
	}
	if !found {
		return fmt.Errorf("no power button")
	}
	return nil
}

// powerPressed reads input events (linux/input.h) until the power key goes down.
func powerPressed(events io.Reader) bool {
	var ev struct {
		Time       unix.Timeval
		Type, Code uint16
		Value      int32
	}
	const evKey, keyPower = 0x01, 116
	buf := make([]byte, unsafe.Sizeof(ev))
	for {
		if _, err := io.ReadFull(events, buf); err != nil {
			return false
		}
		at := unsafe.Offsetof(ev.Type)
		kind, code := binary.NativeEndian.Uint16(buf[at:]), binary.NativeEndian.Uint16(buf[at+2:])
		if kind == evKey && code == keyPower && binary.NativeEndian.Uint32(buf[at+4:]) == 1 {
			return true
		}
	}
}
