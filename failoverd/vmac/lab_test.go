package vmac

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// in runs f in a namespace with a port called lan.
func in(t *testing.T, f func(lan netlink.Link) error) {
	t.Helper()
	lab.Require(t, lab.Root)
	a, err := netns.New(fmt.Sprintf("cg-vm%d-a", os.Getpid()))
	must(t, err)
	defer a.Close()
	b, err := netns.New(fmt.Sprintf("cg-vm%d-b", os.Getpid()))
	must(t, err)
	defer b.Close()
	must(t, netns.Veth(a, "lan", b, "lan"), a.Do(func() error {
		lan, err := netlink.LinkByName("lan")
		if err != nil {
			return err
		}
		return f(lan)
	}))
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		vrid      uint8
		six       bool
		name, mac string
	}{{20, false, "vm-20-4", "00:00:5e:00:01:14"}, {255, true, "vm-255-6", "00:00:5e:00:02:ff"}} {
		if Name(c.vrid, c.six) != c.name || MAC(c.vrid, c.six).String() != c.mac || !Is(c.name) {
			t.Errorf("got %s %v, want %s %s", Name(c.vrid, c.six), MAC(c.vrid, c.six), c.name, c.mac)
		}
	}
	if Is("lan") {
		t.Error("lan is taken for one of ours")
	}
}

// Made once, taken over by the next, on, off, and away; the settings that keep the
// port from answering for it are in force.
func TestLife(t *testing.T) {
	in(t, func(lan netlink.Link) error {
		for _, six := range []bool{false, true} {
			index, err := Make(lan.Attrs().Index, "lan", 20, six)
			must(t, err)
			again, err := Make(lan.Attrs().Index, "lan", 20, six)
			if err != nil || again != index {
				t.Errorf("a second time: device %d, %v, want %d", again, err, index)
			}
			must(t, Up(index), Up(index))
			link, err := netlink.LinkByName(Name(20, six))
			must(t, err)
			if a := link.Attrs(); a.HardwareAddr.String() != MAC(20, six).String() || a.RawFlags&1 == 0 {
				t.Errorf("got %+v", a)
			}
			addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
			if err != nil || len(addrs) != 0 {
				t.Errorf("it has addresses of its own: %v, %v", addrs, err)
			}
			must(t, Down(index), Remove(index), Remove(index))
			if err := Up(index); err == nil {
				t.Error("a removed device was switched on")
			}
		}
		for file, want := range map[string]string{"arp_ignore": "1", "arp_announce": "2"} {
			got, err := os.ReadFile("/proc/sys/net/ipv4/conf/lan/" + file)
			if err != nil || strings.TrimSpace(string(got)) != want {
				t.Errorf("%s is %q, %v, want %s", file, got, err, want)
			}
		}
		return nil
	})
}

// A device of another kind or for another port is replaced.
func TestReplaced(t *testing.T) {
	in(t, func(lan netlink.Link) error {
		must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: Name(20, false)}}))
		_, err := Make(lan.Attrs().Index, "lan", 20, false)
		must(t, err)
		link, err := netlink.LinkByName(Name(20, false))
		if err != nil || link.Type() != "macvlan" {
			t.Errorf("got %v, %v", link, err)
		}
		_, err = Make(77, "lan", 21, false)
		if err == nil || !strings.Contains(err.Error(), "make vm-21-4 on lan") {
			t.Errorf("on no port: %v", err)
		}
		return nil
	})
}

// Only what a killed run left is swept.
func TestSweep(t *testing.T) {
	in(t, func(lan netlink.Link) error {
		index := lan.Attrs().Index
		_, err := Make(index, "lan", 20, true)
		must(t, err, netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "vm-guest", ParentIndex: index}}))
		swept, err := Sweep()
		if err != nil || !reflect.DeepEqual(swept, []string{"vm-20-6"}) {
			t.Errorf("swept %v, %v", swept, err)
		}
		if _, err := netlink.LinkByName("vm-guest"); err != nil {
			t.Errorf("somebody else's device: %v", err)
		}
		return nil
	})
}
