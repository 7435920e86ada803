// Package presence keeps the clinic's card readers: one goroutine per reader owns
// its card, logs its holder in and has the key prove over and over that the card
// is still there. What it learns goes into a session.Machine; what that decides is
// published before anybody else is told. No card, no session.
package presence

import (
	"context"
	"crypto/x509"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"clinicgate/cardauth/config"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/session"
	"clinicgate/cardauth/trust"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// A Bus reaches readers; pcsc is one. Watch calls changed with all
// readers at the start and after each change, and returns when ctx ends or the
// readers can't be reached any more.
type Bus interface {
	Watch(ctx context.Context, changed func([]pcsc.State)) error
	Connect(reader string) (Link, error)
}

// Faults this package raises.
const (
	faultNoService = "card.no-pcscd"
	faultNoReader  = "card.no-reader"
	faultNoAgent   = "card.no-agent"
	faultCard      = "card.unreadable"
	faultSameKey   = "card.same-key"
)

// Setup is what a Clinic works with.
type Setup struct {
	Bus     Bus // the box's own readers
	Rooms   Bus // readers of the rooms' workstations; nil: there are none
	Readers []config.Reader
	// Holder says whose card a certificate belongs to, or why nobody's.
	Holder func(*x509.Certificate, time.Time) (trust.Holder, error)
	// Patient says the same of a patient's card. Readers for patients need it.
	Patient func(*x509.Certificate, time.Time) (trust.Holder, error)
	// Signer says whose signature a certificate stands for.
	Signer func(*x509.Certificate, time.Time) (trust.Holder, error)
	// Present says whose card a professional's certificate for presence is of.
	Present func(*x509.Certificate, time.Time) (trust.Holder, error)
	// Pseudonym is what a patient is called outside this program.
	Pseudonym func(number string) string
	Keys      Keys // nil: nobody knows whose key was whose before
	Rules     session.Rules
	// Publish is called with the whole state after each change, in the order
	// of the changes, from one goroutine at a time. It must not block.
	Publish func(State)
	// Happened, if set, is told of what began and ended before that is
	// published, likewise: what it keeps is on its way meanwhile.
	Happened func([]session.Event)
	Faults   *daemon.Faults
	Log      *slog.Logger
}

// Keys know whose each card's key was before, by those who proved theirs.
type Keys interface {
	// Check says why a key can't be this holder's.
	Check(trust.Holder) error
	// Remember is told of a holder whose key has proven itself.
	Remember(trust.Holder)
}

// A State is all there is at one moment.
type State struct {
	Readers  []session.Reader
	Sessions []session.Session
	Care     []session.Care
}

// A seat is the place of a reader in its room.
type seat struct {
	room     string
	patients bool
}

func seatOf(c config.Reader) seat { return seat{c.Room, c.Patients} }

// A Clinic is all readers of the box. Its methods are safe for concurrent use.
type Clinic struct {
	Setup
	running sync.WaitGroup

	mu      sync.Mutex // held while publishing: what is published is in order
	machine *session.Machine
	readers map[seat]*reader
}

// New returns a clinic whose readers are not looked at yet.
func New(s Setup) *Clinic {
	return &Clinic{Setup: s, machine: session.New(s.Rules), readers: map[seat]*reader{}}
}

// Run watches the readers until ctx ends; pcscd may come and go. At the end every
// session is over, published as such, and every card reset.
func (c *Clinic) Run(ctx context.Context) error {
	var following sync.WaitGroup
	following.Go(func() { c.own(ctx) })
	if c.Rooms != nil {
		following.Go(func() {
			// The rooms' bus ends with ctx only: each agent comes and goes by itself.
			_ = c.Rooms.Watch(ctx, func(all []pcsc.State) { c.saw(ctx, true, all) })
		})
	}
	following.Wait()
	c.do(func(m *session.Machine) (events []session.Event) {
		for _, s := range m.Sessions() {
			events = append(events, m.End(time.Now(), s.ID, session.Stopped)...)
		}
		return events
	})
	c.waitForReaders()
	return nil
}

// own follows the box's own readers.
func (c *Clinic) own(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.Bus.Watch(ctx, func(all []pcsc.State) {
			c.Faults.Clear(faultNoService, "pcscd")
			c.saw(ctx, false, all)
		})
		if ctx.Err() != nil {
			return
		}
		c.Faults.Raise(wire.Fault{
			ID: faultNoService, Severity: wire.Alarm, Where: "pcscd", What: err.Error(),
			Do: "nobody can log in; cardauth tries again by itself, see the log of pcscd",
		})
		c.saw(ctx, false, nil)
		select {
		case <-time.After(again):
		case <-ctx.Done():
		}
	}
}

const (
	again    = 250 * time.Millisecond // between tries to reach pcscd
	lastCall = time.Second            // for readers to reset their cards at the end
)

// waitForReaders gives the readers a moment: one that hangs in the driver must not
// hold up the end.
func (c *Clinic) waitForReaders() {
	done := make(chan struct{})
	go func() { c.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(lastCall):
		c.Log.Warn("a reader hangs, its card was not reset")
	}
}

// saw takes in what readers there are, of the rooms' workstations or of our own:
// it starts a goroutine for each new one of ours, stops those of readers gone, and
// passes on what is in them. It is called from one goroutine for each of the two.
func (c *Clinic) saw(ctx context.Context, remote bool, all []pcsc.State) {
	var missing []wire.Fault
	for _, conf := range c.Readers {
		if conf.Agent != remote {
			continue
		}
		now := match(all, conf.Match)
		r := c.at(seatOf(conf))
		if r != nil && (now == nil || r.name != now.Reader) {
			c.detach(seatOf(conf), r)
			r = nil
		}
		if now == nil {
			missing = append(missing, absent(conf, all))
			continue
		}
		if r == nil {
			r = c.attach(ctx, conf, now.Reader)
		}
		r.tell(*now)
	}
	c.Faults.Keep(map[bool]string{false: faultNoReader, true: faultNoAgent}[remote], missing...)
	c.Republish()
}

// absent is the fault of a reader that is not there.
func absent(conf config.Reader, all []pcsc.State) wire.Fault {
	if conf.Agent {
		return wire.Fault{
			Severity: wire.Warning, Where: "room " + conf.Room,
			What: "the workstation of room " + conf.Room + " is not connected, or has no card reader",
			Do:   "start the workstation and plug its reader in; a new workstation is enrolled with gatectl card enroll",
		}
	}
	return wire.Fault{
		Severity: wire.Alarm, Where: "reader " + conf.Match,
		What: "no card reader of this name is plugged in, room " + conf.Room + "; there is " + names(all),
		Do:   "plug the reader in, or correct [[card.reader]] match in the site file",
	}
}

// Republish publishes what is, with the faults that stand now.
func (c *Clinic) Republish() {
	c.do(func(*session.Machine) []session.Event { return nil })
}

// names lists the readers that are plugged in, for whoever has to write one of them
// into the site file.
func names(all []pcsc.State) string {
	if len(all) == 0 {
		return "none"
	}
	var quoted []string
	for _, s := range all {
		quoted = append(quoted, strconv.Quote(s.Reader))
	}
	return strings.Join(quoted, ", ")
}

// match finds the first reader whose name begins as configured. The contactless
// half of a reader is none: a card in a pocket would be present to it.
func match(all []pcsc.State, start string) *pcsc.State {
	for i := range all {
		if strings.HasPrefix(all[i].Reader, start) && !contactless(all[i].Reader) {
			return &all[i]
		}
	}
	return nil
}

// contactless says of a reader, by its name, that it reaches cards through the
// air. Drivers name the halves of a reader with two; the card's answer to reset
// doesn't tell.
func contactless(name string) bool {
	upper := strings.ToUpper(name)
	for _, word := range []string{"PICC", "CONTACTLESS", "-CL ", " CL ", "NFC"} {
		if strings.Contains(upper+" ", word) {
			return true
		}
	}
	return false
}

func (c *Clinic) attach(ctx context.Context, conf config.Reader, name string) *reader {
	ctx, cancel := context.WithCancel(ctx)
	bus := c.Bus
	if conf.Agent {
		bus = c.Rooms
	}
	r := newReader(c, bus, name, cancel)
	r.patients = conf.Patients
	c.do(func(m *session.Machine) []session.Event {
		c.readers[seatOf(conf)] = r
		m.Attach(time.Now(), name, conf.Room, conf.Patients)
		return nil
	})
	c.running.Go(func() { r.run(ctx) })
	return r
}

// detach ends a reader's session at once; its goroutine follows when it can.
func (c *Clinic) detach(at seat, r *reader) {
	r.cancel()
	r.clearFaults()
	c.do(func(m *session.Machine) []session.Event {
		delete(c.readers, at)
		return m.Detach(time.Now(), r.name)
	})
}

func (c *Clinic) at(s seat) *reader {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.readers[s]
}

// note gives f the machine for what concerns nobody outside: PIN tries. It
// publishes nothing.
func (c *Clinic) note(f func(*session.Machine)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c.machine)
}

// do gives f the machine, and logs and publishes what came of it.
func (c *Clinic) do(f func(*session.Machine) []session.Event) []session.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	events := f(c.machine)
	if c.Happened != nil && len(events) > 0 {
		c.Happened(events)
	}
	c.Publish(State{c.machine.Readers(), c.machine.Sessions(), c.machine.Care()})
	for _, e := range events {
		if e.Care != nil {
			c.Log.Info("care", "id", e.Care.ID, "basis", string(e.Care.Basis), "room", e.Care.Room, "ended", string(e.Ended))
			continue
		}
		attrs := []any{"sid", e.Session.ID, "role", e.Session.Role, "room", e.Session.Room, "reader", e.Session.Reader}
		if e.Ended == "" {
			c.Log.Info("session begins", attrs...)
		} else {
			c.Log.Info("session ends", append(attrs, "why", string(e.Ended), "unproven", time.Since(e.Session.Proven).Round(time.Millisecond).String())...)
		}
	}
	return events
}

// Deadlines ends the sessions of cards that have not proven themselves in time,
// until ctx ends.
func (c *Clinic) Deadlines(ctx context.Context) error {
	for {
		c.mu.Lock()
		first, live := c.machine.NextDue()
		c.mu.Unlock()
		start, wait := time.Now(), glance
		if live {
			wait = min(max(0, first.Sub(start))+time.Millisecond, glance)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		now := time.Now()
		c.mu.Lock()
		if late := now.Sub(start) - wait; late > asleep {
			c.machine.Slept(late)
		}
		first, live = c.machine.NextDue()
		c.mu.Unlock()
		if live && now.After(first) {
			c.do(func(m *session.Machine) []session.Event { return m.Tick(now) })
		}
	}
}

const (
	glance = 100 * time.Millisecond // shorter than any session's first deadline
	asleep = 50 * time.Millisecond  // woken so much too late, the box was the one asleep
)

// Live returns a live session.
func (c *Clinic) Live(id string) (session.Session, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machine.Live(id)
}

// Room returns a room's reader for professionals and its session, if there are.
func (c *Clinic) Room(room string) (r session.Reader, s session.Session, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.machine.Readers() {
		if x.Room == room && !x.Patients {
			r, ok = x, true
		}
	}
	for _, x := range c.machine.Sessions() {
		if ok && x.Reader == r.Name {
			s = x
		}
	}
	return r, s, ok
}
