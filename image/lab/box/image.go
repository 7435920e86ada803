package box

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/qemu"
	"clinicgate/firmware/lab/relay"
	"clinicgate/image/lab/clinic"
)

// QEMUReader is how QEMU's USB reader begins its name: libccid takes it for the
// model whose numbers it bears.
const QEMUReader = "Gemalto"

// Image is the box as it ships: the built image in a virtual machine.
type Image struct {
	Slot *pivcard.Slot // the reader's

	clinic *clinic.Clinic
	number int // 0 or 1: which of a pair
	cfg    qemu.Config
	stick  string
	vm     *qemu.VM
	lent   bool               // a person has the console
	unplug context.CancelFunc // ends the reader
}

// NewImage prepares a machine with a fresh disk from the folder that `image build`
// made, and a site stick for its first boot. number is 0, or 1 for a pair's second.
// With firmware it starts through UEFI as a real box does; without, QEMU loads the
// same kernel, in a third of the time.
func NewImage(c *clinic.Clinic, number int, image string, firmware bool) (*Image, error) {
	file := func(name string) string { return filepath.Join(c.Dir, clinic.Cable(name, number)) }
	b := &Image{Slot: pivcard.NewSlot(), clinic: c, number: number, stick: file("stick") + ".img"}
	dir := file("vm")
	if err := os.RemoveAll(dir); err != nil { // another clinic's disk
		return nil, err
	}
	if out, err := exec.Command(filepath.Join(c.Bin, "image"), "stick", "-o", b.stick, c.Stick(number)).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make the site stick: %w: %s", err, out)
	}
	b.cfg = qemu.Config{
		Image: image, Dir: dir, UEFI: firmware, TPM: true, Card: file("card") + ".sock", Cables: map[string]qemu.Cable{},
	}
	for cable, role := range ports {
		jack := c.Ports[clinic.Cable(cable, number)]
		if jack == nil {
			continue
		}
		theirs, ours := file(role)+".vm", file(role)+".lab"
		end, err := relay.Dgram(ours, theirs)
		if err != nil {
			return nil, err
		}
		jack.Plug(end)
		b.cfg.Cables[role] = qemu.Cable{Local: theirs, Remote: ours}
	}
	here, unplug := context.WithCancel(context.Background())
	b.unplug = unplug
	go pivcard.CCID(here, b.Slot, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", b.cfg.Card)
	})
	return b, nil
}

// imageLimit is how long an emulated machine may take until its services answer.
const imageLimit = 10 * time.Minute

// Boot powers the machine on, the first time with the site stick in, and returns
// when its services answer on the LAN.
func (b *Image) Boot(ctx context.Context) error {
	if b.running() == nil {
		return ErrOn
	}
	cfg := b.cfg
	cfg.Stick, b.stick = b.stick, ""
	vm, err := qemu.Start(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return err
	}
	b.vm, b.lent = vm, false
	ctx, cancel := context.WithTimeout(ctx, imageLimit)
	defer cancel()
	if err := waitServices(ctx, b.clinic, b.number, b.running); err != nil {
		says, why := b.Status(ctx) // what is wrong with it, if it can still tell
		if why != nil {
			says = tail(vm.Transcript())
		}
		return fmt.Errorf("%w; the console says:\n%s", err, says)
	}
	return nil
}

func tail(text string) string { return text[max(0, len(text)-1500):] }

// running is nil while the machine has power.
func (b *Image) running() error {
	if b.vm == nil || !b.vm.Running() {
		return ErrOff
	}
	return nil
}

// prompt ends whatever the box's console says when it waits for a command.
const prompt = "clinicgate> "

// consoleLimit is how long the console of an emulated machine may think.
const consoleLimit = time.Minute

// Status types status on the serial console and returns what it shows.
func (b *Image) Status(context.Context) (string, error) {
	if err := b.running(); err != nil {
		return "", err
	}
	if b.lent {
		return "", errors.New("the console is in your hands: type status there")
	}
	if _, err := b.vm.Expect(`(?s).*`, consoleLimit); err != nil { // pass over what is there
		return "", err
	}
	// The full screen is for people. Escape, twice, leaves what one has opened.
	for _, typed := range []string{"\x1b\x1b\x15plain\r", "status\r"} {
		if err := b.vm.Send(typed); err != nil {
			return "", fmt.Errorf("type on the console: %w", err)
		}
		if typed != "status\r" {
			if _, err := b.vm.Expect(prompt, consoleLimit); err != nil {
				return "", err
			}
		}
	}
	shown, err := b.vm.Expect(`(?s)( clinicgate  [^\n]*\n.*?)`+prompt, consoleLimit)
	if err != nil {
		return "", err
	}
	return strings.ReplaceAll(shown[1], "\r\n", "\n"), nil
}

// Console hands the serial line to a person, until the next boot, and returns the
// command that takes it.
func (b *Image) Console() (string, error) {
	if err := b.running(); err != nil {
		return "", err
	}
	if !b.lent {
		b.vm.Detach()
		b.lent = true
	}
	return "sudo socat -,raw,echo=0,escape=0x1d UNIX-CONNECT:" + filepath.Join(b.cfg.Dir, "serial.sock") + "     (Ctrl-] leaves it)", nil
}

// CutPower pulls the plug.
func (b *Image) CutPower() error {
	if b.vm != nil {
		b.vm.Kill()
	}
	return nil
}

// Close ends the machine and takes the reader away.
func (b *Image) Close() error {
	b.unplug()
	return b.CutPower()
}
