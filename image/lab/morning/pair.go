package morning

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"clinicgate/firmware/lab/pivcard"
	"clinicgate/image/lab/clinic"
)

// Second is the pair's other box, which stands by when the morning begins. It has a
// reader of its own in the same room.
type Second struct {
	Box  Box
	Slot *pivcard.Slot
}

// pairSteps are the morning of a clinic with two boxes: the one that works loses its
// power, and comes back. What it had acknowledged and not yet delivered is on the other
// one's disk, too, which brings it to the hospital meanwhile.
var pairSteps = []step{
	{"", "both boxes have booted and their services answer", (*Morning).bootBoth},
	{"", "one has the clinic's address, the other stands by", (*Morning).standBy},
	{"", "each has every upload of the other", (*Morning).mirrored},
	{"", "their tunnel to the hub stands", (*Morning).tunnel},
	{"a", "card in, PIN: the doctor is signed in", (*Morning).signIn},
	{"a", "a patient's record is read from the cloud", (*Morning).readPatient},
	{"a", "and that patient's Observations", (*Morning).readObservations},
	{"e", "the providers are dead; the cart's ECG is taken: C-STORE success", (*Morning).storeOffline},
	{"f", "the working box's power is cut: the other one answers", (*Morning).loseMaster},
	{"", "the providers are back: the tunnel stands again, at the other box", (*Morning).tunnelAgain},
	{"h", "the dead box's token is dead; the doctor signs in at the other reader", (*Morning).signInSecond},
	{"a", "the same record is read from the cloud", (*Morning).readPatient},
	{"e", "the monitor's SCP-ECG is taken: MQTT PUBACK", (*Morning).publishECG},
	{"g", "and is in the EHR once, unaltered", (*Morning).findPublished},
	{"g", "the ECG the dead box acknowledged is in the hospital: once, unaltered", (*Morning).findECG},
	{"f", "the first box's power is back: it has the clinic's address again", (*Morning).regain},
	{"g", "and knows what was delivered meanwhile", (*Morning).mirrored},
	{"g", "the hospital has the ECG once, still", (*Morning).findECG},
	{"h", "the doctor signs in there again; card out: the token is dead", (*Morning).signInFirst},
	{"", "gatectl status shows it on both", (*Morning).readBoth},
}

func (m *Morning) bootBoth(ctx context.Context) error {
	other := make(chan error, 1)
	go func() { other <- m.Second.Box.Boot(ctx) }()
	return errors.Join(m.Box.Boot(ctx), <-other)
}

// shows waits until a box's status shows what it should.
func shows(ctx context.Context, b Box, what string) error {
	form := regexp.MustCompile(what)
	for end := time.Now().Add(online); ; time.Sleep(200 * time.Millisecond) {
		text, err := b.Status(ctx)
		if err != nil || form.MatchString(text) {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("gatectl status doesn't say %q after %v:\n%s", what, online, text)
		}
	}
}

const (
	hasAddress = `PAIR +lan MASTER 10\.20\.0\.1/24`
	standsBy   = `PAIR +lan BACKUP 10\.20\.0\.1/24`

	hasUploads   = `MIRROR +the other box has every upload`
	usesProvider = `(?m)^ *isp-[ab] +\* +up `
)

// calm is how long lines that have come up must last until a box counts them
// (failoverd/fitness.Better), and some: emulated boxes find theirs at times that lie
// far apart, and the better one of the moment has the address.
const calm = 40 * time.Second

func (m *Morning) standBy(ctx context.Context) error {
	if m.Clinic.Slow {
		for _, b := range []Box{m.Box, m.Second.Box} {
			if err := shows(ctx, b, usesProvider); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(calm):
		}
	}
	if err := shows(ctx, m.Box, hasAddress); err != nil {
		return err
	}
	return shows(ctx, m.Second.Box, standsBy)
}

// mirrored waits until each box says that the other one has every upload.
func (m *Morning) mirrored(ctx context.Context) error {
	for _, b := range []Box{m.Box, m.Second.Box} {
		if err := shows(ctx, b, hasUploads); err != nil {
			return err
		}
	}
	return nil
}

// providers cuts the cables of both boxes to the ISPs, or mends them.
func (m *Morning) providers(alive bool) {
	for n := range 2 {
		for _, name := range []string{clinic.CableA, clinic.CableB} {
			cable := m.Clinic.Cables[clinic.Cable(name, n)]
			if alive {
				cable.Restore()
			} else {
				cable.Cut()
			}
		}
	}
}

// storeOffline has the ECG taken. Emulated boxes stand still for seconds, in which one
// takes the other for lost and acknowledges alone, as it says then; the promise is about
// what was acknowledged while both lived, so there the power is not cut before they met.
func (m *Morning) storeOffline(ctx context.Context) error {
	m.providers(false)
	if err := m.storeECG(ctx); err != nil || !m.Clinic.Slow {
		return err
	}
	return shows(ctx, m.Box, hasUploads)
}

// loseMaster measures how long nobody answers at the clinic's address.
func (m *Morning) loseMaster(ctx context.Context) error {
	if err := m.Box.CutPower(); err != nil {
		return err
	}
	began := time.Now()
	m.ws.Forget()
	for {
		try, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		conn, err := m.Clinic.Workstation.DialContext(try, "tcp", clinic.Gateway+":8444")
		cancel()
		if err == nil {
			conn.Close()
			break
		}
		if ctx.Err() != nil || time.Since(began) > online {
			return fmt.Errorf("nobody answers at %s after %v: %w", clinic.Gateway, online, err)
		}
	}
	fmt.Fprintf(m.Out, "              the address answers %.1f s after the power cut\n", time.Since(began).Seconds())
	return nil
}

// tunnelAgain counts only a handshake that is younger than the links' return, and
// waits until the box itself relies on a provider again: before, reads are refused.
func (m *Morning) tunnelAgain(ctx context.Context) error {
	m.providers(true)
	back := time.Now()
	for end := back.Add(online); ; time.Sleep(200 * time.Millisecond) {
		at, err := m.Clinic.LastHandshake(ctx)
		if err != nil {
			return err
		}
		if !at.Before(back.Truncate(time.Second)) {
			return shows(ctx, m.Second.Box, usesProvider)
		}
		if time.Now().After(end) {
			return fmt.Errorf("no handshake with the hub within %v", online)
		}
	}
}

// signInSecond: the reader of the dead box is dead, too, so the card moves. The
// sessions of a box end with it, and its tokens are worth nothing at the other one.
func (m *Morning) signInSecond(ctx context.Context) error {
	if err := m.dead(ctx, m.login.Token); err != nil {
		return err
	}
	m.Slot.Remove()
	if err := m.InsertCard(m.Second.Slot); err != nil {
		return err
	}
	return m.enterPIN(ctx)
}

func (m *Morning) regain(ctx context.Context) error {
	if err := m.Box.Boot(ctx); err != nil {
		return err
	}
	if err := m.standBy(ctx); err != nil {
		return err
	}
	m.ws.Forget()
	return nil
}

func (m *Morning) signInFirst(ctx context.Context) error {
	m.Second.Slot.Remove()
	if err := m.InsertCard(m.Slot); err != nil {
		return err
	}
	return m.cardOut(ctx)
}

// readBoth shows both statuses.
func (m *Morning) readBoth(ctx context.Context) error {
	for _, want := range []struct {
		box  Box
		says string
	}{{m.Box, hasAddress + `(?s).*MIRROR +the other box has every upload`}, {m.Second.Box, standsBy}} {
		if err := shows(ctx, want.box, want.says); err != nil {
			return err
		}
		text, err := want.box.Status(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintln(m.Out, text)
	}
	return nil
}
