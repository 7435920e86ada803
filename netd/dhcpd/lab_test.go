package dhcpd

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/wire"
	"clinicgate/netd/config"
)

// A ward is a switch with two boxes and three devices on it.
type ward struct {
	t     *testing.T
	dir   string
	boxes [2]*netns.Space
	pcs   [3]*netns.Space
}

const script = `#!/bin/sh
# For both clients: do what is needed and write down what was said.
env >>"$OUT"
case "$1$reason" in
deconfig|*PREINIT*|*EXPIRE*|*RELEASE*|*FAIL*) ip addr flush dev eth0 scope global ;;
bound|renew|*BOUND*|*RENEW*|*REBIND*|*REBOOT*)
	ip addr flush dev eth0 scope global
	ip addr add "${ip:-$new_ip_address}/24" dev eth0 ;;
esac
`

func newWard(t *testing.T) *ward {
	t.Helper()
	lab.Require(t, lab.Root, lab.Program("ip", "udhcpc", "dhclient"))
	t.Parallel()
	w := &ward{t: t, dir: t.TempDir()}
	space := func(name string) *netns.Space {
		s, err := netns.New(fmt.Sprintf("cg-t%d-%s-%s", os.Getpid(), strings.ToLower(t.Name()[4:7]), name))
		w.must(err)
		t.Cleanup(func() { s.Close() })
		return s
	}
	sw := space("sw")
	var ports []string
	plug := func(s *netns.Space, dev string) {
		ports = append(ports, fmt.Sprintf("p%d", len(ports)))
		w.must(netns.Veth(sw, ports[len(ports)-1], s, dev))
	}
	for i := range w.boxes {
		w.boxes[i] = space(fmt.Sprintf("box%d", i))
		plug(w.boxes[i], "lan")
		w.must(w.boxes[i].Addr("lan", fmt.Sprintf("10.20.0.%d/24", 2+i)))
	}
	for i := range w.pcs {
		w.pcs[i] = space(fmt.Sprintf("pc%d", i))
		plug(w.pcs[i], "eth0")
		w.run(w.pcs[i], "ip", "link", "set", "eth0", "address", fmt.Sprintf("52:54:00:20:00:%02x", 0xa0+i))
	}
	w.must(sw.Bridge("br0", ports...), os.WriteFile(filepath.Join(w.dir, "script"), []byte(script), 0o755))
	return w
}

func (w *ward) must(errs ...error) {
	w.t.Helper()
	for _, err := range errs {
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *ward) run(s *netns.Space, args ...string) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	out, err := proc.Run(ctx, s, args...)
	w.must(err)
	return string(out)
}

// serve starts a server in box i. end stops it; the lease file stays.
func (w *ward) serve(i int, edit func(*config.Addresses)) (s *Server, end func()) {
	zone := config.Addresses{
		Zone: "lan", Port: "lan", Own: netip.MustParsePrefix(fmt.Sprintf("10.20.0.%d/24", 2+i)), Gateway: netip.MustParseAddr("10.20.0.1"),
		First: netip.MustParseAddr("10.20.0.100"), Last: netip.MustParseAddr("10.20.0.103"), Lease: time.Hour,
		Reservations: []config.Reservation{{MAC: config.MAC{0x52, 0x54, 0, 0x20, 0, 0xa1}, Address: netip.MustParseAddr("10.20.0.60"), Name: "ecg-cart"}},
	}
	if edit != nil {
		edit(&zone)
	}
	c := config.Config{DNS: &config.DNS{Domain: "clinic.internal"}, NTP: &config.NTP{}}
	s = New(zone, c, filepath.Join(w.dir, fmt.Sprintf("leases%d", i)), slog.New(slog.NewTextHandler(w.t.Output(), nil)))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.boxes[i].Do(func() error { return s.Run(ctx) }) }()
	end = func() { cancel(); w.must(<-done); done <- nil }
	w.t.Cleanup(end)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		s.mu.Lock()
		open, broken := s.open, s.broken
		s.mu.Unlock()
		if open {
			return s, end
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the server does not start: %s", broken)
		}
	}
}

// lease asks for an address once, with one of the clients, and returns what the
// client was told.
func (w *ward) lease(client string, i int) map[string]string {
	w.t.Helper()
	out := filepath.Join(w.dir, fmt.Sprintf("%s-%d-%d", client, i, time.Now().UnixNano()))
	args := []string{"env", "OUT=" + out, "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "8", "-T", "1", "-s", filepath.Join(w.dir, "script")}
	if client == "dhclient" {
		base := filepath.Join(w.dir, fmt.Sprint("dhclient", i))
		args = []string{"dhclient", "-1", "-d", "-e", "OUT=" + out, "-cf", "/dev/null", "-lf", base + ".leases", "-pf", base + ".pid", "-sf", filepath.Join(w.dir, "script"), "eth0"}
		w.must(os.WriteFile(base+".leases", nil, 0o644))
		p, err := proc.Start(proc.Spec{Name: "dhclient", Space: w.pcs[i], Args: args, Log: out + ".log"})
		w.must(err)
		defer p.Stop(time.Second)
		w.must(p.WaitLine(w.t.Context(), "bound to"))
	} else {
		w.run(w.pcs[i], args...)
	}
	data, err := os.ReadFile(out)
	w.must(err)
	told := map[string]string{}
	for line := range strings.Lines(string(data)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
		told[k] = v
	}
	return told
}

// flush takes the client's address away without a word to anybody.
func (w *ward) flush(i int) { w.run(w.pcs[i], "ip", "addr", "flush", "dev", "eth0", "scope", "global") }

// TestClients: two clients of other houses understand what they are told, and a
// restarted server knows them.
func TestClients(t *testing.T) {
	w := newWard(t)
	s, end := w.serve(0, nil)
	s.Answer(true)
	told := w.lease("udhcpc", 0)
	for k, want := range map[string]string{"subnet": "255.255.255.0", "router": "10.20.0.1", "dns": "10.20.0.1", "domain": "clinic.internal", "serverid": "10.20.0.1", "lease": "600"} {
		if told[k] != want {
			t.Errorf("udhcpc: %s is %q, want %q", k, told[k], want)
		}
	}
	first := told["ip"]
	reserved := w.lease("dhclient", 1)
	for k, want := range map[string]string{"new_ip_address": "10.20.0.60", "new_host_name": "ecg-cart", "new_domain_name_servers": "10.20.0.1", "new_dhcp_lease_time": "3600", "new_broadcast_address": "10.20.0.255"} {
		if reserved[k] != want {
			t.Errorf("dhclient: %s is %q, want %q", k, reserved[k], want)
		}
	}
	end()
	w.flush(0)
	s, _ = w.serve(0, nil)
	s.Answer(true)
	if got := w.lease("udhcpc", 0)["ip"]; got != first {
		t.Errorf("after a restart: got %s, want %s as before", got, first)
	}
	other := w.lease("udhcpc", 2)["ip"]
	if other == first || other == "" {
		t.Errorf("another device got %q, and %s is the first's", other, first)
	}
	if l := s.Leases(); len(l) != 3 || l[0].Name != "ecg-cart" || !l[1].Live {
		t.Errorf("leases: %+v", l)
	}
}

// TestConflict: an address that somebody answers for is not given away; nor is any
// when the pool is used up, and that is said.
func TestConflict(t *testing.T) {
	w := newWard(t)
	s, _ := w.serve(0, func(z *config.Addresses) { z.Last = z.First.Next() })
	s.Answer(true)
	w.must(w.pcs[2].Addr("eth0", "10.20.0.100/24"), w.pcs[2].Addr("eth0", "10.20.0.60/24"))
	if got := w.lease("udhcpc", 0)["ip"]; got != "10.20.0.101" {
		t.Errorf("got %s, want the only address that nobody uses", got)
	}
	out, err := proc.Run(t.Context(), w.pcs[1], "udhcpc", "-i", "eth0", "-f", "-n", "-q", "-t", "3", "-T", "1", "-s", filepath.Join(w.dir, "script"))
	if err == nil {
		t.Errorf("a second device got an address:\n%s", out)
	}
	_, faults := s.State()
	ids := map[string]wire.Fault{}
	for _, f := range faults {
		ids[f.ID] = f
	}
	if ids["dhcp.exhausted"].What != "a device got no address: 2 of 2 are in use" || ids["dhcp.taken"].What != "10.20.0.60 is reserved for 52:54:00:20:00:a1 and another device uses it" {
		t.Errorf("faults: %+v", faults)
	}
}

// TestTakeover: the box that takes over renews what it never gave, and gives
// nobody what the other gave.
func TestTakeover(t *testing.T) {
	w := newWard(t)
	a, _ := w.serve(0, func(z *config.Addresses) { z.Half = config.Lower })
	b, _ := w.serve(1, func(z *config.Addresses) { z.Half = config.Upper })
	w.must(w.boxes[0].Addr("lan", "10.20.0.1/24"))
	a.Answer(true)
	p, err := proc.Start(proc.Spec{Name: "udhcpc", Space: w.pcs[0], Log: filepath.Join(w.dir, "stays.log"), Env: []string{"OUT=" + filepath.Join(w.dir, "stays")},
		Args: []string{"udhcpc", "-i", "eth0", "-f", "-s", filepath.Join(w.dir, "script")}})
	w.must(err)
	t.Cleanup(func() { p.Stop(time.Second) })
	w.must(p.WaitLine(t.Context(), "lease of 10.20.0.10"))
	a.Answer(false)
	w.run(w.boxes[0], "ip", "addr", "del", "10.20.0.1/24", "dev", "lan")
	w.must(w.boxes[1].Addr("lan", "10.20.0.1/24"))
	b.Answer(true)
	w.run(w.pcs[0], "ip", "neigh", "flush", "all") // failoverd announces the address; here nobody does
	w.must(p.Signal(syscall.SIGUSR1))              // renew now
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if used, _ := b.State(); len(b.Leases()) == 1 && used.Used == 1 && b.Leases()[0].Until.After(time.Now()) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the other box did not renew: %+v\n%s", b.Leases(), p.Tail(20))
		}
	}
	if got := w.lease("udhcpc", 2)["ip"]; got != "10.20.0.102" && got != "10.20.0.103" {
		t.Errorf("a new device got %s, want one of the other half", got)
	}
}
