package leases

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"clinicgate/netd/config"
)

// A life is a pair of boxes and their devices over months: boxes stop, start with
// what they stored, and take over; devices come, sleep, renew, reboot and leave.
type life struct {
	t       *testing.T
	rnd     *rand.Rand
	now     time.Time
	boxes   [2]*Table  // nil: off
	stored  [2][]Lease // in the order in which they were
	master  int
	devices []*device
}

type device struct {
	id     string
	mac    config.MAC
	has    netip.Addr
	until  time.Time
	asleep bool // answers no ARP
}

// Nobody ever gets an address that another device may believe to have.
func TestPairNeverGivesTwice(t *testing.T) {
	for seed := range uint64(25) {
		l := &life{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), now: time.Unix(1.7e9, 0)}
		for i := range l.boxes {
			l.turnOn(i)
		}
		l.boxes[0].Answer(true, l.now)
		for i := range 14 {
			l.devices = append(l.devices, &device{id: fmt.Sprintf("01%02x", i), mac: config.MAC{0x52, 0, 0, 0, 0, byte(i)}})
		}
		for range 3000 {
			l.step()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func (l *life) turnOn(i int) {
	c := config.Addresses{
		Own: netip.MustParsePrefix(fmt.Sprintf("10.20.0.%d/24", 2+i)), Gateway: addr("10.20.0.1"),
		First: addr(".100"), Last: addr(".111"), Lease: time.Hour, Half: []string{config.Lower, config.Upper}[i],
	}
	l.boxes[i] = New(c)
	l.boxes[i].Load(l.stored[i], l.now)
}

func (l *life) step() {
	l.now = l.now.Add(time.Duration(l.rnd.IntN(600)) * time.Second)
	switch n := l.rnd.IntN(100); {
	case n < 3:
		l.takeOver()
	case n < 5 && l.boxes[1-l.master] != nil:
		l.boxes[1-l.master] = nil
	case n < 8 && l.boxes[1-l.master] == nil:
		l.turnOn(1 - l.master)
	case n < 10:
		l.turnOn(l.master)
		l.boxes[l.master].Answer(true, l.now)
	default:
		l.act(l.devices[l.rnd.IntN(len(l.devices))])
	}
}

func (l *life) takeOver() {
	if l.rnd.IntN(2) == 0 {
		l.boxes[l.master] = nil
	} else if l.boxes[l.master] != nil {
		l.boxes[l.master].Answer(false, l.now)
	}
	l.master = 1 - l.master
	if l.boxes[l.master] == nil {
		l.turnOn(l.master)
	}
	l.boxes[l.master].Answer(true, l.now)
}

func (l *life) act(d *device) {
	if !l.now.Before(d.until) {
		d.has = netip.Addr{}
	}
	q := Question{ID: d.id, MAC: d.mac}
	switch n := l.rnd.IntN(10); {
	case n == 0:
		d.asleep = !d.asleep
	case n == 1 && d.has.IsValid():
		q.Kind, q.Has = Release, d.has
		l.ask(d, q, false)
		d.has = netip.Addr{}
	case n < 4 && d.has.IsValid():
		q.Kind, q.Wanted = Request, d.has // rebooted
		l.ask(d, q, true)
	case d.has.IsValid():
		q.Kind, q.Has = Request, d.has // renewing: the other box does not see it
		l.ask(d, q, l.rnd.IntN(4) == 0)
	default:
		q.Wanted = addr(fmt.Sprintf(".%d", 95+l.rnd.IntN(20)))
		l.ask(d, q, true)
	}
}

// ask has the master decide, and the other box listen to what is broadcast.
func (l *life) ask(d *device, q Question, broadcast bool) {
	if other := l.boxes[1-l.master]; broadcast && other != nil {
		other.Ask(q, l.now)
	}
	r := l.boxes[l.master].Ask(q, l.now)
	for n := 0; r.Do == Probe && n < 3; n++ {
		r = l.boxes[l.master].Probed(q, r.Address, l.answersARP(r.Address), l.now)
	}
	if r.Lease != nil {
		l.stored[l.master] = append(l.stored[l.master], *r.Lease)
	}
	switch r.Do {
	case Offer:
		q.Kind, q.Wanted, q.Server = Request, r.Address, addr(".1")
		if l.rnd.IntN(10) > 0 { // else it never comes back
			l.ask(d, q, true)
		}
	case Nak:
		d.has = netip.Addr{}
	case Ack:
		for _, other := range l.devices {
			if other != d && other.has == r.Address && l.now.Before(other.until) {
				l.t.Errorf("%v: %v given to %s, and %s has it until %v", l.now, r.Address, d.id, other.id, other.until)
			}
		}
		d.has, d.until = r.Address, l.now.Add(r.Time)
	}
}

func (l *life) answersARP(a netip.Addr) bool {
	return slices.ContainsFunc(l.devices, func(d *device) bool { return d.has == a && l.now.Before(d.until) && !d.asleep })
}

// What an attacker may send decides without a panic and without end.
func FuzzAsk(f *testing.F) {
	f.Add([]byte{0, 1, 100, 1, 1, 100, 2, 1, 100, 3, 1, 100, 4, 9, 255})
	f.Fuzz(func(t *testing.T, script []byte) {
		p := &play{now: time.Unix(1.7e9, 0)}
		p.box([]string{".100-.103"})
		p.cfg.Reservations = []config.Reservation{{MAC: mac("01"), Address: addr(".60"), Name: "x"}}
		p.start()
		for ; len(script) >= 3; script = script[3:] {
			p.now = p.now.Add(time.Duration(script[0]>>3) * time.Minute)
			a := addr(fmt.Sprintf(".%d", script[2]))
			q := Question{Kind: Kind(script[0] & 7), ID: fmt.Sprint(script[1]), MAC: mac(fmt.Sprintf("%02x", script[1])), Wanted: a}
			if script[1]&1 == 0 {
				q.Wanted, q.Has = netip.Addr{}, a
			}
			r := p.table.Ask(q, p.now)
			for n := 0; r.Do == Probe && n < 3; n++ {
				r = p.table.Probed(q, r.Address, script[2]&1 == 0, p.now)
			}
			if len(p.table.byAddr) > 5 || len(p.table.byID) > 5 {
				t.Fatalf("%d addresses, %d devices remembered", len(p.table.byAddr), len(p.table.byID))
			}
		}
	})
}
