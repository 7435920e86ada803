package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"clinicgate/firmware/uevent"
)

// Card readers are driven by pcscd from user space. Without udev two things are
// ours: giving it the device node, and telling it about a reader that comes or
// goes, which it hears by no other way than being started again.

// ccid is the USB interface class of card readers (USB CCID 1.1, §4.3). Readers
// with a class of their own (255) are known to libccid by product.
func readerInterface(class string) bool { return class == "11" || class == "255" }

// readerEvent reports whether e is about an interface that may be a card reader.
func readerEvent(e uevent.Event) bool {
	if e["SUBSYSTEM"] != "usb" || e["DEVTYPE"] != "usb_interface" || (e["ACTION"] != "add" && e["ACTION"] != "remove") {
		return false
	}
	class, _, _ := strings.Cut(e["INTERFACE"], "/")
	return readerInterface(class)
}

// grantReaders gives every reader's device node to pcscd's user and returns the
// nodes, which are new ones when a reader was taken out and put back.
func grantReaders(sys, dev string, uid int) ([]string, error) {
	interfaces, err := filepath.Glob(filepath.Join(sys, "bus/usb/devices/*:*"))
	if err != nil {
		return nil, err
	}
	var nodes []string
	for _, i := range interfaces {
		e := readUevent(filepath.Join(i, "uevent"))
		class, _, _ := strings.Cut(e["INTERFACE"], "/")
		if !readerInterface(class) {
			continue
		}
		device, err := filepath.EvalSymlinks(i)
		if err != nil {
			continue // unplugged meanwhile
		}
		node := readUevent(filepath.Join(filepath.Dir(device), "uevent"))["DEVNAME"]
		if node == "" {
			continue
		}
		if err := os.Chown(filepath.Join(dev, node), uid, uid); err != nil {
			return nodes, fmt.Errorf("give reader to pcscd: %w", err)
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// readUevent reads a device's own description in sysfs: KEY=VALUE lines.
func readUevent(path string) map[string]string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	e := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			e[k] = v
		}
	}
	return e
}
