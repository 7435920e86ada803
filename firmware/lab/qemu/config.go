// Package qemu runs the box's image in a virtual machine that a test holds in its
// hands: console, cables, stick, card reader, and the power plug. Everything is
// emulated in software; no machine outlives the test.
package qemu

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"clinicgate/board"
)

// Config describes one machine. Start it again with the same Dir and it has the
// same disk, firmware variables and TPM: that is what a power cut leaves.
type Config struct {
	Image string // folder that `image build` made
	Dir   string // this machine's own folder: disk, sockets, logs

	Kernel, Initrd string // run instead of the image's; no disk is needed then
	Append         string // more words for the kernel; not with UEFI
	UEFI           bool   // boot from the disk through OVMF, as a real box; else load the kernel directly, which saves 10 s
	TPM            bool   // a software TPM 2.0

	Cables map[string]Cable // by port role; a port without one has no link
	Stick  string           // image of a USB stick
	Card   string           // unix socket on which the reader awaits a card (vscard protocol); empty: reader without a card slot in use
	Memory int              // MiB, 0: 512
	Once   bool             // the machine ends instead of restarting
}

// Cable joins a port to the world: Ethernet frames as datagrams between two unix
// sockets. The machine binds Local and sends to Remote.
type Cable struct{ Local, Remote string }

// Programs are what the package runs; pass them to lab.Require.
var Programs = []string{"qemu-system-x86_64", "cp"}

// Disk is the machine's own disk, a raw file.
func (c Config) Disk() string { return filepath.Join(c.Dir, "disk.img") }

// ovmf is Debian's build of the UEFI firmware.
const ovmf = "/usr/share/OVMF/"

// Firmware is the need for the UEFI firmware.
func Firmware() error {
	if _, err := os.Stat(ovmf + "OVMF_CODE_4M.fd"); err != nil {
		return fmt.Errorf("UEFI firmware: %w; `make deps` installs it", err)
	}
	return nil
}

// MAC is the address of a machine's port: the same for the same Dir and role, so
// that the world sees one card across power cuts, and two machines differ.
func (c Config) MAC(role string) string {
	h := sha256.Sum256([]byte(c.Dir + "\x00" + role))
	return fmt.Sprintf("52:54:00:%02x:%02x:%02x", h[0], h[1], h[2])
}

// args is QEMU's command line, run in c.Dir.
func (c Config) args() []string {
	memory := c.Memory
	if memory == 0 {
		memory = 512
	}
	a := []string{
		"-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", fmt.Sprint(memory),
		"-display", "none", "-nodefaults", "-no-user-config", "-name", filepath.Base(c.Dir),
		"-chardev", "socket,id=serial,path=serial.sock,server=on,wait=on,logfile=serial.log,logappend=on", "-serial", "chardev:serial",
		"-qmp", "unix:qmp.sock,server=on,wait=off",
		"-device", "i6300esb", "-action", "watchdog=reset",
		"-device", "qemu-xhci,id=usb", "-device", "usb-ccid,bus=usb.0,id=reader",
		"-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
	}
	if c.Once {
		a = append(a, "-no-reboot")
	}
	a = append(a, c.boot()...)
	a = append(a, c.ports()...)
	if c.Stick != "" {
		a = append(a, "-drive", "if=none,id=stick,format=raw,readonly=on,file="+c.Stick, "-device", "usb-storage,bus=usb.0,drive=stick")
	}
	if c.Card != "" {
		a = append(a, "-chardev", "socket,id=card,server=on,wait=off,path="+c.Card, "-device", "ccid-card-passthru,chardev=card,bus=reader.0")
	}
	if c.TPM {
		a = append(a, "-chardev", "socket,id=tpm,path=tpm.sock", "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0")
	}
	return a
}

// boot says what the machine starts from. The disk's cache is the host's: a write
// the guest has synced is with the host when the machine is killed; one that it
// has not may be there or not.
func (c Config) boot() []string {
	var a []string
	if c.Kernel == "" {
		a = append(a, "-drive", "if=none,id=disk,format=raw,file=disk.img,cache=writeback,discard=unmap", "-device", "virtio-blk-pci,drive=disk,addr=0x18")
	}
	switch {
	case c.UEFI:
		a = append(a, "-drive", "if=pflash,format=raw,readonly=on,file="+ovmf+"OVMF_CODE_4M.fd", "-drive", "if=pflash,format=raw,file=vars.fd")
	case c.Kernel != "":
		a = append(a, "-kernel", c.Kernel, "-initrd", c.Initrd, "-append", c.Append)
	default:
		cmdline, err := os.ReadFile(filepath.Join(c.Image, "cmdline"))
		if err != nil {
			cmdline = nil // prepare has told
		}
		a = append(a, "-kernel", filepath.Join(c.Image, "vmlinuz"), "-initrd", filepath.Join(c.Image, "initrd.cpio.zst"),
			"-append", strings.TrimSpace(string(cmdline))+" "+c.Append)
	}
	return a
}

// ports puts the board's network ports where its description says.
func (c Config) ports() []string {
	var a []string
	for _, p := range board.QEMUx86_64.Ports {
		slot := strings.TrimSuffix(strings.TrimPrefix(p.Bus, "0000:00:"), ".0")
		backend := fmt.Sprintf("hubport,hubid=%d", 100+len(a)) // no cable: a hub of its own
		if cable, ok := c.Cables[p.Role]; ok {
			backend = "dgram,local.type=unix,local.path=" + cable.Local + ",remote.type=unix,remote.path=" + cable.Remote
		}
		a = append(a, "-netdev", backend+",id="+p.Role,
			"-device", "virtio-net-pci,netdev="+p.Role+",addr=0x"+slot+",romfile=,mac="+c.MAC(p.Role)+",id=port-"+p.Role)
	}
	return a
}

// absolute makes paths hold from QEMU's working directory, too.
func (c *Config) absolute() error {
	for _, path := range []*string{&c.Image, &c.Dir, &c.Kernel, &c.Initrd, &c.Stick, &c.Card} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return fmt.Errorf("make machine: %w", err)
		}
		*path = abs
	}
	return nil
}

// prepare makes what the machine needs in its folder, unless it is there.
func (c Config) prepare() error {
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return fmt.Errorf("make machine: %w", err)
	}
	for _, stale := range []string{"serial.sock", "qmp.sock", "tpm.sock"} {
		if err := os.RemoveAll(filepath.Join(c.Dir, stale)); err != nil {
			return fmt.Errorf("make machine: %w", err)
		}
	}
	if c.Kernel != "" {
		return nil
	}
	if _, err := os.Stat(c.Disk()); err != nil {
		out, err := exec.Command("cp", "--sparse=always", filepath.Join(c.Image, "disk.img"), c.Disk()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("make machine's disk: %w: %s", err, out)
		}
	}
	if !c.UEFI {
		return nil
	}
	vars := filepath.Join(c.Dir, "vars.fd")
	if _, err := os.Stat(vars); err == nil {
		return nil
	}
	blank, err := os.ReadFile(ovmf + "OVMF_VARS_4M.fd")
	if err != nil {
		return fmt.Errorf("make firmware variables: %w", err)
	}
	return os.WriteFile(vars, blank, 0o644)
}
