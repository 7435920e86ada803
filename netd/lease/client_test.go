package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
)

// A provider is dnsmasq at the other end of a cable.
type provider struct {
	t        *testing.T
	dir      string
	box, isp *netns.Space
	dnsmasq  *proc.Proc
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	lab.Require(t, lab.Root, lab.Program("dnsmasq"))
	p := &provider{t: t, dir: t.TempDir()}
	var err error
	for name, s := range map[string]**netns.Space{"box": &p.box, "isp": &p.isp} {
		if *s, err = netns.New(fmt.Sprintf("netd-lease-%d-%s", os.Getpid(), name)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { (*s).Close() })
	}
	if err := errors.Join(netns.Veth(p.box, "wan1", p.isp, "box"), p.isp.Addr("box", "100.64.1.1/24")); err != nil {
		t.Fatal(err)
	}
	return p
}

// serve starts the server with a range of addresses.
func (p *provider) serve(from, to string) {
	p.t.Helper()
	var err error
	p.dnsmasq, err = proc.Start(proc.Spec{Name: "dnsmasq", Space: p.isp, Log: filepath.Join(p.dir, "dnsmasq.log"), Args: []string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file", "--log-facility=-", "--log-dhcp", "--no-ping",
		"--port=0", "--interface=box", "--bind-interfaces", "--dhcp-authoritative",
		"--dhcp-range=" + from + "," + to + ",255.255.255.0,2m", "--dhcp-option=option:router,100.64.1.1",
		"--dhcp-leasefile=" + filepath.Join(p.dir, "leases"),
	}})
	if err == nil {
		err = p.dnsmasq.WaitLine(p.t.Context(), "DHCP, IP range")
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { p.dnsmasq.Stop(time.Second) })
}

func (p *provider) client() *Client {
	return &Client{
		Dev: "wan1", Path: filepath.Join(p.dir, "lease.json"), Log: slog.New(slog.DiscardHandler),
		Clash: func(netip.Prefix) error { return nil },
	}
}

// told is one report.
type told struct {
	lease *Lease
	why   string
}

// run runs a client inside the box until it has told something once.
func (p *provider) run(c *Client) told {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 15*time.Second)
	defer cancel()
	var first *told
	err := p.box.Do(func() error {
		c.Run(ctx, func(l *Lease, why string) {
			if first == nil {
				first = &told{l, why}
				cancel()
			}
		})
		return nil
	})
	if err != nil || first == nil {
		p.t.Fatalf("nothing told: %v", err)
	}
	return *first
}

// TestLife takes a lease through its life against a real server.
func TestLife(t *testing.T) {
	p := newProvider(t)
	p.serve("100.64.1.100", "100.64.1.150")
	c := p.client()

	got := p.run(c)
	if got.lease == nil || !netip.MustParsePrefix("100.64.1.0/24").Contains(got.lease.Address.Addr()) || got.lease.Gateway.String() != "100.64.1.1" {
		t.Fatalf("first lease: %+v", got)
	}
	own := got.lease.Address
	stored, err := durable.ReadJSON[Lease](c.Path, maxFile)
	if err != nil || stored == nil || stored.Address != own {
		t.Fatalf("not stored before it was told: %+v, %v", stored, err)
	}

	if got := p.run(c); got.lease == nil || got.lease.Address != own || got.why != "lease from 100.64.1.1" {
		t.Errorf("after a restart: %+v", got)
	}
	p.extend(c, *stored)

	p.dnsmasq.Stop(time.Second)
	if got := p.run(c); got.lease == nil || got.lease.Address != own || !strings.HasPrefix(got.why, "no DHCP server answers; lease of ") {
		t.Errorf("without a server: %+v", got)
	}

	// The provider numbers anew and says no to the old address.
	if err := os.Remove(filepath.Join(p.dir, "leases")); err != nil {
		t.Fatal(err)
	}
	if err := p.isp.Addr("box", "100.64.9.1/24"); err != nil {
		t.Fatal(err)
	}
	p.serve("100.64.9.100", "100.64.9.150")
	if got := p.run(c); got.lease != nil || got.why != "the server took the lease back" {
		t.Errorf("after a NAK: %+v", got)
	}
	if l, err := durable.ReadJSON[Lease](c.Path, maxFile); l != nil || err != nil {
		t.Errorf("kept a lease that was taken back: %+v, %v", l, err)
	}
}

// TestMoved: the cable leads to another network while no server was there to say
// no. The old lease is used for the time being and replaced by the new server's.
func TestMoved(t *testing.T) {
	p := newProvider(t)
	c := p.client()
	now := time.Now()
	old := Lease{
		Address: netip.MustParsePrefix("198.18.0.7/24"), Gateway: netip.MustParseAddr("198.18.0.1"),
		Acquired: now.Add(-time.Minute), T1: now.Add(time.Hour), T2: now.Add(2 * time.Hour), Expiry: now.Add(3 * time.Hour),
	}
	if err := durable.WriteJSON(c.Path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	var got []netip.Prefix
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_ = p.box.Do(func() error {
		c.Run(ctx, func(l *Lease, why string) {
			if l == nil {
				t.Errorf("told %q", why)
				return
			}
			if got = append(got, l.Address); len(got) == 1 {
				p.serve("100.64.1.100", "100.64.1.150")
			} else {
				cancel()
			}
		})
		return nil
	})
	if len(got) != 2 || got[0] != old.Address || !netip.MustParsePrefix("100.64.1.0/24").Contains(got[1].Addr()) {
		t.Errorf("told %v", got)
	}
}

// extend renews by unicast from the leased address and rebinds by broadcast.
func (p *provider) extend(c *Client, l Lease) {
	p.t.Helper()
	if err := p.box.Addr("wan1", l.Address.String()); err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), 15*time.Second)
	defer cancel()
	for _, ph := range []phase{renewing, rebinding} {
		err := p.box.Do(func() error {
			again, err := c.extend(ctx, l, ph)
			if err == nil && (again.Address != l.Address || !again.Expiry.After(l.Expiry)) {
				err = fmt.Errorf("got %+v", again)
			}
			return err
		})
		if err != nil {
			p.t.Errorf("phase %d: %v", ph, err)
		}
	}
}

// TestRefused: an address that the clinic has elsewhere is neither used nor stored.
func TestRefused(t *testing.T) {
	p := newProvider(t)
	p.serve("100.64.1.100", "100.64.1.150")
	c := p.client()
	c.Clash = func(netip.Prefix) error { return errors.New("overlaps the LAN") }
	if got := p.run(c); got.lease != nil || got.why != "no lease: overlaps the LAN" {
		t.Errorf("got %+v", got)
	}
	if l, err := durable.ReadJSON[Lease](c.Path, maxFile); l != nil || err != nil {
		t.Errorf("stored %+v, %v", l, err)
	}
}

// TestExpires: a lease that nobody renews is given up when it is over, not later.
func TestExpires(t *testing.T) {
	p := newProvider(t) // no server
	c := p.client()
	now := time.Now()
	l := Lease{
		Address: netip.MustParsePrefix("100.64.1.100/24"), Gateway: netip.MustParseAddr("100.64.1.1"),
		Acquired: now.Add(-time.Minute), T1: now.Add(-2 * time.Second), T2: now.Add(-time.Second), Expiry: now.Add(4 * time.Second),
	}
	if err := durable.WriteJSON(c.Path, l, 0o600); err != nil {
		t.Fatal(err)
	}
	var why []string
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_ = p.box.Do(func() error {
		c.Run(ctx, func(l *Lease, w string) {
			why = append(why, w)
			if l == nil {
				cancel()
			}
		})
		return nil
	})
	if len(why) != 2 || why[1] != "the lease ran out and no DHCP server renews it" {
		t.Errorf("told %q", why)
	}
	if time.Now().Before(l.Expiry) {
		t.Error("given up too early")
	}
}
