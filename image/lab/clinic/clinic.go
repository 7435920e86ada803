// Package clinic builds the clinic in a box: two internet providers, the internet,
// the cloud with its hub and EHR, the hospital, and the clinic's LAN with a
// workstation, an ECG cart and a monitor, all in namespaces of this machine. It
// guarantees that closing it, or starting it again after a crash, leaves nothing
// behind but the files in its folder.
package clinic

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/lab/relay"
	"clinicgate/image/lab/ehr"
)

// Config says how to build a clinic.
type Config struct {
	Root string                           // of the source tree
	Name string                           // at most 10 letters; its namespaces are cg-NAME-*
	Bin  string                           // folder of built programs; see Build
	Say  func(format string, args ...any) // progress; nil: silent

	// Pair: there is room for two boxes, and a cable between them.
	Pair bool

	// Outer: the pair has the address Outer at ISP B as well, behind which
	// the clinic leaves.
	Outer bool

	// Slow: the boxes are emulated, and may stand still for longer than the example's
	// time between advertisements allows.
	Slow bool

	// Reader is how the box's card reader begins its name; empty: as in the
	// example site file.
	Reader string
}

// Clinic is the running world around the box.
type Clinic struct {
	Config
	*spaces
	Dir    string                 // build/lab/NAME: logs, site folder, sockets
	World  *pki.World             // the certificate authorities
	EHR    *ehr.Server            // the cloud EHR
	Cables map[string]*relay.Link // the boxes' cables, as Cable names them; A is the box's side, of CableHA the first's
	Ports  map[string]*relay.Jack // where the boxes plug in, by the same names

	keys  struct{ hub, box, pair wgKey }
	procs []*proc.Proc // in the order they started
	lock  *os.File
}

// Needs is what a clinic can't do without.
func Needs(root string) []lab.Need {
	return []lab.Need{
		lab.Root,
		lab.Program("Orthanc", "dnsmasq", "wg", "ip", "ping", "storescu", "mosquitto_pub"),
		ehr.Installed(filepath.Join(root, "build/lab/ehr")),
	}
}

// startLimit is how long one part of the world may take to start on a busy
// machine.
const startLimit = 90 * time.Second

// Start builds the clinic, all but the box.
func Start(ctx context.Context, cfg Config) (*Clinic, error) {
	if cfg.Say == nil {
		cfg.Say = func(string, ...any) {}
	}
	c := &Clinic{
		Config: cfg, Dir: filepath.Join(cfg.Root, "build/lab", cfg.Name),
		Cables: map[string]*relay.Link{}, Ports: map[string]*relay.Jack{},
	}
	var err error
	if c.lock, err = claim(c.Dir); err != nil {
		return nil, err
	}
	steps := []struct {
		say string
		run func(context.Context) error
	}{
		{"lay cables", c.lay},
		{"make keys, certificates and the site folder", c.writeSite},
		{"start ISP A's DHCP", c.startISPA},
		{"start the hub's WireGuard", c.startHub},
		{"start the hospital's Orthanc", c.startHospital},
		{"start the cloud EHR and load its patients", c.startEHR},
	}
	for _, s := range steps {
		c.Say("%s", s.say)
		limited, cancel := context.WithTimeout(ctx, startLimit)
		err := s.run(limited)
		cancel()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", s.say, err), c.Close())
		}
	}
	return c, nil
}

// lay makes the namespaces and the cables between them and to the box.
func (c *Clinic) lay(context.Context) error {
	if err := sweep(c.Name); err != nil {
		return err
	}
	var err error
	if c.spaces, err = makeSpaces(c.Name); err != nil {
		return err
	}
	if err := c.connect(); err != nil {
		return err
	}
	far, err := c.sockets(c.boxes())
	for name, end := range far {
		c.Ports[name] = relay.NewJack()
		c.Cables[name] = relay.New(c.Ports[name], end, uint64(len(c.Cables))+1)
	}
	if c.Pair {
		first, second := relay.NewJack(), relay.NewJack()
		c.Ports[CableHA], c.Ports[Cable(CableHA, 1)] = first, second
		c.Cables[CableHA] = relay.New(first, second, uint64(len(c.Cables))+1)
	}
	return err
}

// boxes is how many there are.
func (c *Clinic) boxes() int {
	if c.Pair {
		return 2
	}
	return 1
}

// Close ends everything; the folder stays for whoever wants to read the logs.
func (c *Clinic) Close() error {
	for i := len(c.procs) - 1; i >= 0; i-- {
		c.procs[i].Kill()
	}
	var errs []error
	for _, l := range c.Cables {
		if err := l.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if c.spaces != nil {
		errs = append(errs, c.spaces.Close())
	}
	errs = append(errs, c.lock.Close())
	return errors.Join(errs...)
}

// start starts a program of the clinic that ends with it, with its log in place.
func (c *Clinic) start(spec proc.Spec) (*proc.Proc, error) {
	spec.Log = c.log(spec.Name)
	p, err := proc.Start(spec)
	if err == nil {
		c.procs = append(c.procs, p)
	}
	return p, err
}

func (c *Clinic) log(name string) string { return filepath.Join(c.Dir, "log", name+".log") }

func (c *Clinic) bin(name string) string { return filepath.Join(c.Bin, name) }
