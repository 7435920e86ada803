package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	station "clinicgate/cardauth/agent/room"
	"clinicgate/firmware/wire"
)

// What the network can do about a card at a workstation: not spend a try of its
// PIN, not have its doctor asked from elsewhere, not enrol with a code twice, and
// not come in with a key that was turned away or is in use.
func TestAttackRoomAgent(t *testing.T) {
	f := newFar(t, 0)
	card := f.present("7")
	for range 50 {
		f.refused(f.call(f.ws, "/v1/login", "", `{"room":"`+farRoom+`","pin":"111111"}`), http.StatusBadRequest, "pin-at-reader")
	}
	if card.Tries() != 3 || f.questions() != 0 {
		t.Fatalf("%d tries left after %d questions, want 3 after none", card.Tries(), f.questions())
	}

	// A workstation of the clinic, but not this room's: nobody is asked.
	here := f.place.dial
	f.elsewhere(t)
	other, _ := f.workstation("ws-9")
	f.refused(f.call(other, "/v1/login", "", `{"room":"`+farRoom+`"}`), http.StatusForbidden, "elsewhere")
	f.place.dial = here
	if f.questions() != 0 {
		t.Error("the doctor was asked for a PIN from another place")
	}

	// A code is good once, and a wrong one never.
	code := f.invite()
	if out, err := f.enrolWith("0000-0000-0000-0000", "wrong"); err == nil || !strings.Contains(out, "the gateway says") {
		t.Errorf("a wrong code: %v, %s", err, out)
	}
	if out, err := f.enrolWith(code, "second"); err != nil {
		t.Fatalf("the second enrolment: %v\n%s", err, out)
	}
	if out, err := f.enrolWith(code, "third"); err == nil {
		t.Errorf("a code was used twice: %s", out)
	}
	// The new key puts the old one out: the first agent is gone and stays away.
	f.until("the first workstation gone", func(c *wire.Card) bool { _, ok := f.reader(c); return !ok })
	time.Sleep(time.Second)
	f.until("it stays away", func(c *wire.Card) bool { _, ok := f.reader(c); return !ok })
	f.killAgent()

	// The room's key, stolen: while its workstation is connected the thief isn't.
	f.agent = f.agentAt("second")
	f.until("the second workstation", f.farState(wire.ReaderCard))
	a := f.mustFarLogin()
	copied := filepath.Join(f.dir, "stolen")
	if err := os.CopyFS(copied, os.DirFS(filepath.Join(f.dir, "second"))); err != nil {
		t.Fatal(err)
	}
	f.elsewhere(t)
	id, err := station.Load(copied)
	if err != nil {
		t.Fatal(err)
	}
	if id.Room != farRoom {
		t.Errorf("the stolen key is for room %q", id.Room)
	}
	thief := f.agentFrom(copied)
	defer func() { _ = thief.Process.Kill(); _ = thief.Wait() }()
	f.fault("card.agent-twice")
	if got := f.call(f.ws, "/v1/renew", a.Token, ""); got.Status != http.StatusOK {
		t.Errorf("the thief disturbed the room's session: %+v", got)
	}

	// Turned away, it is out at once, and its session with it.
	var gone struct{ Revoked bool }
	start := time.Now()
	f.control(http.MethodDelete, "/rooms/"+farRoom, &gone)
	if !gone.Revoked {
		t.Error("nobody was turned away")
	}
	t.Logf("session over %v after its workstation was turned away", f.ends(a.Session.ID, start).Round(time.Millisecond))
}
