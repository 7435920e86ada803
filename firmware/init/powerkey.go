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
	const keyPower = 116
	return watchKey(sys, dev, "Power Button", keyPower, func(down bool) bool {
		if down {
			endings <- powerOff
		}
		return !down
	})
}

// watchKey calls pressed with each change of a key of the input devices of that
// name, for as long as it returns true.
func watchKey(sys, dev, device string, code uint16, pressed func(down bool) bool) error {
	names, err := filepath.Glob(filepath.Join(sys, "class/input/event*/device/name"))
	if err != nil {
		return err
	}
	found := false
	for _, path := range names {
		name, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(name)) != device {
			continue
		}
		event := filepath.Base(filepath.Dir(filepath.Dir(path)))
		f, err := os.Open(filepath.Join(dev, "input", event))
		if err != nil {
			return fmt.Errorf("watch %s: %w", device, err)
		}
		found = true
		go func() {
			defer f.Close()
			readKey(f, code, pressed)
		}()
	}
	if !found {
		return fmt.Errorf("no input device %s", device)
	}
	return nil
}

// readKey reads input events (linux/input.h). A key that is held repeats itself,
// which is no change.
func readKey(events io.Reader, code uint16, pressed func(down bool) bool) {
	var ev struct {
		Time       unix.Timeval
		Type, Code uint16
		Value      int32
	}
	const evKey, released, down = 0x01, 0, 1
	buf := make([]byte, unsafe.Sizeof(ev))
	for {
		if _, err := io.ReadFull(events, buf); err != nil {
			return
		}
		at := unsafe.Offsetof(ev.Type)
		kind, key := binary.NativeEndian.Uint16(buf[at:]), binary.NativeEndian.Uint16(buf[at+2:])
		value := binary.NativeEndian.Uint32(buf[at+4:])
		if kind == evKey && key == code && (value == down || value == released) && !pressed(value == down) {
			return
		}
	}
}
