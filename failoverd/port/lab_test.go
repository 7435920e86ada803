package port

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

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

func space(t *testing.T, name string) *netns.Space {
	t.Helper()
	lab.Require(t, lab.Root)
	s, err := netns.New(fmt.Sprintf("cg-po%d-%s", os.Getpid(), name))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func look(t *testing.T, s *netns.Space) (p Port) {
	t.Helper()
	must(t, s.Do(func() (err error) {
		p, err = Look("lan", func(a netlink.Addr) bool { return a.Label == "lan:pair" })
		return err
	}))
	return p
}

// set changes the link lan of s.
func set(t *testing.T, s *netns.Space, change func(netlink.Link) error) {
	t.Helper()
	must(t, s.Do(func() error {
		link, err := netlink.LinkByName("lan")
		if err != nil {
			return err
		}
		return change(link)
	}))
}

func TestLook(t *testing.T) {
	a, b := space(t, "a"), space(t, "b")
	if p := look(t, a); p.There || p.Carrier {
		t.Errorf("before there is a port: %+v", p)
	}
	must(t, netns.Veth(a, "lan", b, "lan"), a.Addr("lan", "10.20.0.2/24"))
	set(t, a, func(l netlink.Link) error {
		addr, err := netlink.ParseAddr("10.20.0.1/32")
		if err != nil {
			return err
		}
		addr.Label = "lan:pair"
		return netlink.AddrAdd(l, addr)
	})
	p := look(t, a)
	if !p.There || !p.Carrier || p.Index == 0 || len(p.MAC) != 6 {
		t.Errorf("got %+v", p)
	}
	if !slices.Contains(p.Own, netip.MustParsePrefix("10.20.0.2/24")) || slices.Contains(p.Own, netip.MustParsePrefix("10.20.0.1/32")) || !reflect.DeepEqual(p.Shared, []netip.Addr{netip.MustParseAddr("10.20.0.1")}) {
		t.Errorf("own %v, shared %v", p.Own, p.Shared)
	}
	set(t, b, netlink.LinkSetDown) // the other end of the cable
	if p := look(t, a); !p.There || p.Carrier {
		t.Errorf("with the cable dead: %+v", p)
	}
	set(t, a, netlink.LinkSetDown)
	if p := look(t, a); !p.There || p.Carrier {
		t.Errorf("switched off: %+v", p)
	}
}

// Every kind of change is told, and the end of the context ends the watch.
func TestWatch(t *testing.T) {
	a, b := space(t, "wa"), space(t, "wb")
	ctx, cancel := context.WithCancel(t.Context())
	changed, ended := make(chan struct{}, 64), make(chan error, 1)
	go func() {
		ended <- a.Do(func() error {
			return Watch(ctx, func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			})
		})
	}()
	for heard := false; !heard; { // until it listens
		must(t, a.Do(func() error {
			lo, err := netlink.LinkByName("lo")
			return errors.Join(err, netlink.LinkSetDown(lo), netlink.LinkSetUp(lo))
		}))
		select {
		case <-changed:
			heard = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"new port", func() { must(t, netns.Veth(a, "lan", b, "lan")) }},
		{"address", func() { must(t, a.Addr("lan", "10.20.0.2/24")) }},
		{"cable", func() { set(t, b, netlink.LinkSetDown) }},
		{"port gone", func() { set(t, a, netlink.LinkDel) }},
	} {
		for len(changed) > 0 {
			<-changed
		}
		step.do()
		select {
		case <-changed:
		case <-time.After(time.Minute):
			t.Errorf("%s: not told", step.what)
		}
		time.Sleep(20 * time.Millisecond) // what this step still says
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ended with %v", err)
	}
}
