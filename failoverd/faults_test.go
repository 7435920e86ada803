package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"clinicgate/failoverd/advert"
	"clinicgate/failoverd/config"
	"clinicgate/failoverd/port"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

func newTestFaults() (*groupFaults, *daemon.Faults) {
	set := daemon.NewFaults(slog.New(slog.NewTextHandler(io.Discard, nil)))
	cfg := config.Group{Name: "lan", VRID: 20, Port: "lan", Interval: time.Second}
	return newGroupFaults(set, cfg), set
}

func ids(set *daemon.Faults) string {
	var all []string
	for _, f := range set.List() {
		if f.Do == "" || f.What == "" || f.Where == "" {
			all = append(all, "unfinished")
		}
		all = append(all, f.ID)
	}
	return strings.Join(all, " ")
}

var (
	peerAddr = netip.MustParseAddr("10.20.0.3")
	ours     = []netip.Addr{netip.MustParseAddr("10.20.0.1"), netip.MustParseAddr("10.20.0.9")}
)

// The same addresses in another order are the same; another list or interval is
// told until the other box is mended.
func TestDiffers(t *testing.T) {
	f, set := newTestFaults()
	m := advert.Message{Priority: 100, Interval: time.Second, Addresses: []netip.Addr{ours[1], ours[0]}}
	f.differs(peerAddr, m, ours)
	if got := ids(set); got != "" {
		t.Errorf("the same in another order: %s", got)
	}
	m.Addresses, m.Interval = ours[:1], 50*time.Millisecond
	f.differs(peerAddr, m, ours)
	if got := ids(set); got != faultForeign+" "+faultInterval {
		t.Errorf("got %q", got)
	}
	if ours[0] != netip.MustParseAddr("10.20.0.1") {
		t.Error("our own list was sorted in place")
	}
	m.Addresses, m.Interval = ours, time.Second
	f.differs(peerAddr, m, ours)
	if got := ids(set); got != "" {
		t.Errorf("after it was mended: %s", got)
	}
}

// One losing advertisement is the end of a split, several are a box that does not
// hear us.
func TestRival(t *testing.T) {
	f, set := newTestFaults()
	for i := 1; i <= rivalAfter; i++ {
		f.rival(peerAddr)
		if got, want := ids(set) != "", i == rivalAfter; got != want {
			t.Errorf("after %d: raised %v", i, got)
		}
	}
	f.yielded()
	if got := ids(set); got != "" {
		t.Errorf("after it yielded: %s", got)
	}
	f.rival(peerAddr)
	if got := ids(set); got != "" {
		t.Errorf("the count did not start again: %s", got)
	}
}

func TestExpire(t *testing.T) {
	f, set := newTestFaults()
	f.refused(errors.New("length: got 3"))
	f.conflict(claim{ours[0], net.HardwareAddr{2, 0, 0, 0, 0, 7}})
	f.expire(time.Now().Add(standFor - time.Second))
	if got := ids(set); got != faultConflict+" "+faultBadAdvert {
		t.Errorf("within its time: %q", got)
	}
	f.expire(time.Now().Add(standFor + time.Second))
	if got := ids(set); got != "" {
		t.Errorf("after its time: %q", got)
	}
}

// A flood under a thousand names is one fault and hardly a line in the log.
func TestFloodOfNames(t *testing.T) {
	var log bytes.Buffer
	set := daemon.NewFaults(slog.New(slog.NewTextHandler(&log, nil)))
	f := newGroupFaults(set, config.Group{Name: "lan", VRID: 20, Port: "lan"})
	began := time.Now()
	for i := range 10000 {
		f.refused(fmt.Errorf("TTL 1 from 10.20.%d.%d", i>>8, i&255))
		f.rogue(rogue{mac: net.HardwareAddr{2, 0, 0, 0, byte(i >> 8), byte(i)}, from: peerAddr})
	}
	most := 2 * (1 + int(time.Since(began)/sayGap))
	if lines := strings.Count(log.String(), "\n"); lines > most || len(set.List()) != 2 {
		t.Errorf("%d lines, want at most %d; %d faults", lines, most, len(set.List()))
	}
}

// A port has one fault at a time.
func TestPortFault(t *testing.T) {
	f, set := newTestFaults()
	for _, p := range []port.Port{{Name: "lan"}, {Name: "lan", There: true}, {Name: "lan", There: true, Carrier: true}} {
		_, fault := p.Fit([]netip.Prefix{netip.MustParsePrefix("10.20.0.1/24")}, false)
		f.port(fault)
		if got := ids(set); got != fault.ID {
			t.Errorf("got %q, want %s alone", got, fault.ID)
		}
	}
	f.port(nil)
	if l := set.List(); len(l) != 0 {
		t.Errorf("left: %+v", l)
	}
}

func TestReasons(t *testing.T) {
	for _, cause := range []error{advert.ErrLength, advert.ErrChecksum, advert.ErrInterval} {
		if got := reason(errors.Join(cause)); got != cause.Error() {
			t.Errorf("got %q, want %q", got, cause)
		}
	}
	if got := reason(io.EOF); got != "other" {
		t.Errorf("got %q", got)
	}
	if wire.RoleMaster != roles[2] || wire.RoleInit != roles[0] {
		t.Errorf("roles %v", roles)
	}
}
