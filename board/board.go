// Package board describes the hardware the firmware runs on, as data: one
// literal per board, listed in All. It imports nothing and does nothing; whoever
// reads a description acts on it.
package board

// Board is one kind of box.
type Board struct {
	Name     string // as in image file names and on the kernel command line
	Arch     string // as Go names it
	Kernel   string // Debian package that depends on the newest kernel for this board
	Ports    []Port
	Console  Console
	Watchdog Watchdog
	Lamp     Lamp
	Button   Button
	TPM      string // kernel driver of the TPM 2.0; empty: none
	Modules  Modules
	Disk     Disk
}

// A Port is a network socket by its role, found by where it hangs on the bus:
// MAC addresses change with a repair, kernel names with a kernel.
type Port struct {
	Role string // "wan1", "wan2", "lan", "ha", "svc"; the interface gets this name
	Bus  string // component of the device's path under /sys/devices
}

// Console is the serial line a technician plugs into.
type Console struct {
	Device string // under /dev
	Baud   int
}

// Lamp is the light at the front, of two colours. Names are those under
// /sys/class/leds, and may be patterns as path.Match has them.
type Lamp struct {
	Good, Bad string // green and red; empty: none
	Why       string // why there is none
}

// Button is the one at the front, as the kernel's input layer has it.
type Button struct {
	Device string // name of the input device; empty: none
	Code   uint16 // linux/input-event-codes.h
	Why    string // why there is none
}

// Watchdog is the timer that resets a box whose PID 1 has stopped running.
type Watchdog struct {
	Driver string // as the kernel names it; empty: none
	Why    string // why there is none
	Limit  int    // seconds without a sign of life
}

// Modules are the kernel modules a board needs, without those they depend on,
// which the image build adds. Each may carry parameters: "name key=value".
// Nothing is loaded on demand: after the last list the kernel takes no more.
type Modules struct {
	Initrd []string // to find and mount the root filesystem
	System []string // for work
	Stick  []string // to read a site stick; only a box without a site loads them
	UEFI   []string // for boot entries and the system partition; only a box that UEFI firmware started loads them
}

// Disk is the layout of the boot disk, in MiB. Data is the least the image is
// made with.
type Disk struct {
	ESP, Root, Data int
}

// All lists every board.
var All = []*Board{&QEMUx86_64}

// Find returns the board with that name, or nil.
func Find(name string) *Board {
	for _, b := range All {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// Port returns the port with that role, or nil.
func (b *Board) Port(role string) *Port {
	for i := range b.Ports {
		if b.Ports[i].Role == role {
			return &b.Ports[i]
		}
	}
	return nil
}
