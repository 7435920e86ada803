package clinic

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/relay"
)

// The clinic's addresses. The box's own are in the site file.
const (
	HubPublic   = "192.0.2.1"
	HubInside   = "10.99.0.1"
	BoxInside   = "10.99.0.2"
	EHRBase     = "http://10.98.1.10:8103/fhir/R4"
	Hospital    = "http://10.98.2.10:8042"
	Gateway     = "10.20.0.1"     // the pair's address on the LAN
	Outer       = "198.51.100.10" // the pair's at ISP B, where there is one
	Internet    = "192.0.2.254"   // a machine there that is no hub
	Workstation = "10.20.0.50"
	Cart        = "10.20.0.60"
	Monitor     = "10.20.0.70" // the MQTT device
	ispANet     = "100.64.1.0/24"
	ispBNet     = "198.51.100.0/24"
)

// Ports of the box, and the cable in each.
const (
	CableA   = "isp-a" // in wan1
	CableB   = "isp-b" // in wan2
	CableLAN = "lan"   // in lan
	CableHA  = "ha"    // in ha, to the other box
)

// Cable is the cable of box n, 0 or 1, that is called name for the first.
func Cable(name string, n int) string {
	if n == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, n+1)
}

// Own is the address of box n itself on the LAN.
func Own(n int) string { return fmt.Sprintf("10.20.0.%d", 2+n) }

// spaces are the places of the clinic's world, each a namespace.
type spaces struct {
	Inet, ISPA, ISPB, Hub, Cloud, Hospital *netns.Space
	LAN, Workstation, Cart, Monitor        *netns.Space
}

// prefix starts the names of all namespaces of the lab called name.
func prefix(name string) string { return "cg-" + name + "-" }

// sweep removes what labs that crashed have left: of this name, and of tests
// whose process is gone (their lab's name is t and its number).
func sweep(name string) error {
	all, err := netns.List("cg-")
	if err != nil {
		return err
	}
	var errs []error
	for _, ns := range all {
		if strings.HasPrefix(ns, prefix(name)) || orphan(ns) {
			errs = append(errs, end(ns), netns.Remove(ns))
		}
	}
	return errors.Join(errs...)
}

// end kills what still runs in a namespace that nobody owns any more.
func end(ns string) error {
	pids, err := netns.Processes(ns)
	for _, pid := range pids {
		if kill := syscall.Kill(pid, syscall.SIGKILL); kill != nil && kill != syscall.ESRCH {
			err = errors.Join(err, fmt.Errorf("end process %d of %s: %w", pid, ns, kill))
		}
	}
	return err
}

func orphan(ns string) bool {
	number, _, _ := strings.Cut(strings.TrimPrefix(ns, "cg-t"), "-")
	pid, err := strconv.Atoi(number)
	return err == nil && strings.HasPrefix(ns, "cg-t") && syscall.Kill(pid, 0) == syscall.ESRCH
}

// makeSpaces makes all namespaces; on an error it removes those it made.
func makeSpaces(name string) (*spaces, error) {
	s := &spaces{}
	for _, want := range s.list() {
		made, err := netns.New(prefix(name) + want.name)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		*want.space = made
	}
	return s, nil
}

type place struct {
	name  string
	space **netns.Space
}

func (s *spaces) list() []place {
	return []place{
		{"inet", &s.Inet}, {"isp-a", &s.ISPA}, {"isp-b", &s.ISPB},
		{"hub", &s.Hub}, {"cloud", &s.Cloud}, {"hospital", &s.Hospital},
		{"lan", &s.LAN}, {"ws", &s.Workstation}, {"ecg", &s.Cart}, {"mqtt", &s.Monitor},
	}
}

func (s *spaces) Close() error {
	var errs []error
	for _, p := range s.list() {
		if *p.space != nil {
			errs = append(errs, (*p.space).Close())
		}
	}
	return errors.Join(errs...)
}

// connect lays the fixed cables: everything but those of the box.
func (s *spaces) connect() error {
	return first(
		wire(s.Inet, "isp-a", "10.255.1.1/30", s.ISPA, "up", "10.255.1.2/30"),
		wire(s.Inet, "isp-b", "10.255.2.1/30", s.ISPB, "up", "10.255.2.2/30"),
		wire(s.Inet, "hub", "192.0.2.254/24", s.Hub, "eth0", HubPublic+"/24"),
		wire(s.Hub, "cloud", "10.98.1.1/24", s.Cloud, "eth0", "10.98.1.10/24"),
		wire(s.Hub, "hospital", "10.98.2.1/24", s.Hospital, "eth0", "10.98.2.10/24"),
		wire(s.LAN, "ws", "", s.Workstation, "eth0", Workstation+"/24"),
		wire(s.LAN, "ecg", "", s.Cart, "eth0", Cart+"/24"),
		wire(s.LAN, "mqtt", "", s.Monitor, "eth0", Monitor+"/24"),
		s.route,
	)
}

func (s *spaces) route() error {
	return first(
		s.Inet.Forward, s.ISPA.Forward, s.ISPB.Forward, s.Hub.Forward,
		via(s.ISPA, "default", "10.255.1.1"), via(s.ISPB, "default", "10.255.2.1"),
		via(s.Inet, ispANet, "10.255.1.2"), via(s.Inet, ispBNet, "10.255.2.2"),
		via(s.Hub, "default", "192.0.2.254"),
		via(s.Cloud, "default", "10.98.1.1"), via(s.Hospital, "default", "10.98.2.1"),
		via(s.Workstation, "default", Gateway), via(s.Cart, "default", Gateway), via(s.Monitor, "default", Gateway),
	)
}

// sockets makes the devices on the far side of the boxes' cables: the ISPs' and the
// clinic's switch. Two boxes share an ISP's network through a switch of its own.
func (s *spaces) sockets(boxes int) (map[string]relay.End, error) {
	ends := map[string]relay.End{}
	lan := []string{"ws", "ecg", "mqtt"}
	isp := map[string][]string{}
	for n := range boxes {
		for _, far := range []struct {
			cable, device string
			space         *netns.Space
		}{{CableA, "box", s.ISPA}, {CableB, "box", s.ISPB}, {CableLAN, "gw", s.LAN}} {
			device := fmt.Sprint(far.device, n+1)
			end, err := relay.TAP(far.space, device)
			if err != nil {
				return ends, err
			}
			ends[Cable(far.cable, n)] = end
			if far.cable == CableLAN {
				lan = append(lan, device)
			} else {
				isp[far.cable] = append(isp[far.cable], device)
			}
		}
	}
	err := first(
		func() error { return s.ISPA.Bridge("wan", isp[CableA]...) }, addr(s.ISPA, "wan", "100.64.1.1/24"),
		func() error { return s.ISPB.Bridge("wan", isp[CableB]...) }, addr(s.ISPB, "wan", "198.51.100.1/24"),
		func() error { return s.LAN.Bridge("br0", lan...) },
	)
	return ends, err
}

func wire(a *netns.Space, aName, aAddr string, b *netns.Space, bName, bAddr string) func() error {
	return func() error {
		return first(
			func() error { return netns.Veth(a, aName, b, bName) },
			addr(a, aName, aAddr), addr(b, bName, bAddr),
		)
	}
}

func addr(s *netns.Space, device, cidr string) func() error {
	return func() error {
		if cidr == "" {
			return nil
		}
		return s.Addr(device, cidr)
	}
}

func via(s *netns.Space, dst, gateway string) func() error {
	return func() error { return s.Route(dst, gateway) }
}

// first runs the steps until one fails.
func first(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// claim takes the folder of a lab for this process; the kernel gives it back when
// the process ends, however it ends.
func claim(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(dir+"/lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("a lab is running in %s already; `make stop` ends it", dir)
	}
	return f, nil
}
