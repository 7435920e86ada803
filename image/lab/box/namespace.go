// Package box is the gateway in the clinic: the built image in a virtual machine,
// or the same programs straight in a namespace for fast tests. It guarantees that
// a power cut takes everything at once and leaves only what was on the disk.
package box

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/lab/relay"
	"clinicgate/image/lab/clinic"
)

// VirtualReader is how the reader of a box in a namespace begins its name.
const VirtualReader = "Virtual PCD"

// readerConf makes vpcd's two virtual readers known to pcscd.
const readerConf = `FRIENDLYNAME "` + VirtualReader + `"
DEVICENAME   /dev/null:0x8C7B
LIBPATH      /usr/lib/pcsc/drivers/serial/libifdvpcd.so
CHANNELID    0x8C7B
`

// Namespace is the box as programs in a namespace. They run as root; users,
// sandboxes and supervision are the image's.
type Namespace struct {
	Slot *pivcard.Slot // the reader's

	clinic *clinic.Clinic
	number int    // 0 or 1: which of a pair
	dir    string // data and run directory
	space  *netns.Space
	procs  []*proc.Proc
	loose  []relay.End        // ports without a cable
	unplug context.CancelFunc // ends the reader
}

// NewNamespace prepares box number 0, or 1 of a pair, with its site stick imported.
func NewNamespace(c *clinic.Clinic, number int) (*Namespace, error) {
	b := &Namespace{Slot: pivcard.NewSlot(), clinic: c, number: number, dir: filepath.Join(c.Dir, clinic.Cable("box", number))}
	if err := os.RemoveAll(b.dir); err != nil {
		return nil, err
	}
	// On the box the stick's secrets lie beside the site's folder, not in it.
	stick := c.Stick(number)
	for from, to := range map[string]string{"anchors": "site/anchors", "secrets": "secrets"} {
		if err := copyTree(filepath.Join(stick, from), b.data(to)); err != nil {
			return nil, fmt.Errorf("import the site: %w", err)
		}
	}
	site, err := os.ReadFile(filepath.Join(stick, "site.toml"))
	if err != nil {
		return nil, err
	}
	return b, os.WriteFile(b.data("site/site.toml"), site, 0o644)
}

// copyTree copies a folder with its modes: secrets stay secret.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), data, info.Mode().Perm())
	})
}

func (b *Namespace) data(path string) string { return filepath.Join(b.dir, "data", path) }

// Run is the run directory, with the wire files.
func (b *Namespace) Run() string { return filepath.Join(b.dir, "run") }

// programs are the box's own, in the order they start; none waits for another.
var programs = []string{"netd", "failoverd", "cardauth", "syncd", "panel"}

// Errors of asking a box for what its power doesn't allow.
var (
	ErrOff = errors.New("the box is switched off")
	ErrOn  = errors.New("the box is switched on already")
)

// Boot powers the box on and returns when its services answer on the LAN.
func (b *Namespace) Boot(ctx context.Context) error {
	if b.space != nil {
		return ErrOn
	}
	for _, dir := range []string{b.Run(), b.pcscd()} {
		if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o775)); err != nil {
			return err
		}
	}
	if err := b.plug(); err != nil {
		return errors.Join(err, b.CutPower())
	}
	if err := b.startReader(ctx); err != nil {
		return errors.Join(err, b.CutPower())
	}
	for _, name := range programs {
		args := []string{
			filepath.Join(b.clinic.Bin, name), "-site", b.data("site/site.toml"), "-secrets", b.data("secrets/" + name),
			"-state", b.data(name), "-run", b.Run(),
		}
		if err := errors.Join(os.MkdirAll(b.data(name), 0o700), os.MkdirAll(b.data("secrets/"+name), 0o700)); err != nil {
			return err
		}
		if err := b.start(name, args, "PCSCLITE_CSOCK_NAME="+filepath.Join(b.pcscd(), "pcscd.comm")); err != nil {
			return errors.Join(err, b.CutPower())
		}
	}
	return b.ready(ctx)
}

// ports are the box's network devices by the cable in each.
var ports = map[string]string{clinic.CableA: "wan1", clinic.CableB: "wan2", clinic.CableLAN: "lan", clinic.CableHA: "ha"}

// plug makes the box's kernel, so to speak: a namespace with its ports.
func (b *Namespace) plug() (err error) {
	if b.space, err = netns.New("cg-" + b.clinic.Name + "-" + clinic.Cable("box", b.number)); err != nil {
		return err
	}
	for cable, port := range ports {
		end, err := relay.TAP(b.space, port)
		if err != nil {
			return err
		}
		if jack := b.clinic.Ports[clinic.Cable(cable, b.number)]; jack != nil {
			jack.Plug(end)
		} else {
			b.loose = append(b.loose, end)
		}
	}
	return nil
}

func (b *Namespace) pcscd() string { return filepath.Join(b.dir, "pcscd") }

// startReader starts the real pcscd with vpcd's reader, and puts our slot in it.
func (b *Namespace) startReader(ctx context.Context) error {
	conf := filepath.Join(b.dir, "reader.conf")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(conf, "vpcd"), []byte(readerConf), 0o644); err != nil {
		return err
	}
	p, err := proc.Start(proc.Spec{
		Name: "pcscd", Args: []string{"pcscd", "--foreground", "--config", conf}, Space: b.space,
		Binds: map[string]string{"/run/pcscd": b.pcscd()}, Log: b.log("pcscd"),
	})
	if err != nil {
		return err
	}
	b.procs = append(b.procs, p)
	space := b.space
	here, unplug := context.WithCancel(context.WithoutCancel(ctx))
	b.unplug = unplug
	go pivcard.VPCD(here, b.Slot, func(ctx context.Context) (net.Conn, error) {
		return space.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", pivcard.VPCDPort))
	})
	return nil
}

func (b *Namespace) start(name string, args []string, env ...string) error {
	p, err := proc.Start(proc.Spec{Name: name, Args: args, Env: env, Space: b.space, Log: b.log(name)})
	if err == nil {
		b.procs = append(b.procs, p)
	}
	return err
}

func (b *Namespace) log(name string) string {
	return filepath.Join(b.clinic.Dir, "log", clinic.Cable("box", b.number)+"-"+name+".log")
}

// services are the box's on the LAN, at the clinic's address.
var services = []string{"8443", "8444", "8883", "11112"}

// bootLimit is how long a box may take until its services answer.
const bootLimit = 3 * time.Minute

func (b *Namespace) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	return waitServices(ctx, b.clinic, b.number, b.alive)
}

// alive is an error when one of the programs has ended.
func (b *Namespace) alive() error {
	for _, p := range b.procs {
		select {
		case <-p.Done():
			return fmt.Errorf("%s ended: %s", p.Name, p.Tail(5))
		default:
		}
	}
	return nil
}

// waitServices waits until the box's services answer, as the workstation sees them:
// at the clinic's address, or of a pair's box at its own, for the other one may have
// the clinic's.
func waitServices(ctx context.Context, c *clinic.Clinic, number int, alive func() error) error {
	at := clinic.Gateway
	if c.Pair {
		at = clinic.Own(number)
	}
	for _, port := range services {
		for {
			try, cancel := context.WithTimeout(ctx, 2*time.Second)
			conn, err := c.Workstation.DialContext(try, "tcp", at+":"+port)
			cancel()
			if err == nil {
				conn.Close()
				break
			}
			if dead := alive(); dead != nil {
				return fmt.Errorf("boot: %w", dead)
			}
			if ctx.Err() != nil {
				return fmt.Errorf("boot: port %s at %s does not answer: %w", port, at, err)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

// CutPower kills every program at once and takes the box's kernel state with it:
// addresses, routes, firewall, connections.
func (b *Namespace) CutPower() error {
	if b.unplug != nil {
		b.unplug()
		b.unplug = nil
	}
	for _, p := range b.procs {
		p.Signal(os.Kill) // all first, so that none sees another's end
	}
	for _, p := range b.procs {
		p.Kill()
	}
	b.procs = nil
	for cable := range ports {
		if jack := b.clinic.Ports[clinic.Cable(cable, b.number)]; jack != nil {
			jack.Unplug()
		}
	}
	for _, end := range b.loose {
		end.Close() // a device that doesn't close is gone with its namespace
	}
	b.loose = nil
	if b.space == nil {
		return nil
	}
	space := b.space
	b.space = nil
	return space.Close()
}

// Status is what gatectl status shows of this box.
func (b *Namespace) Status(ctx context.Context) (string, error) {
	if b.space == nil {
		return "", ErrOff
	}
	out, err := proc.Run(ctx, b.space, filepath.Join(b.clinic.Bin, "gatectl"), "status", "--run", b.Run(), "--site", b.data("site/site.toml"))
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		err = nil // its exit status is its verdict on the box, not on the asking
	}
	return string(out), err
}

// Close ends the box.
func (b *Namespace) Close() error { return b.CutPower() }
