package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/pcscd"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/proc"
	"clinicgate/firmware/lab/relay"
	"clinicgate/firmware/wire"
)

// farRoom has its reader at its own workstation.
const farRoom = "consulting-2"

// A far is a desk whose gateway stands behind a slow cable, and a room whose
// workstation has a reader of its own: the real agent, with a pcscd and a virtual
// card of its own.
type far struct {
	*desk
	ws2   *netns.Space
	thief *netns.Space // another computer of the LAN
	cable *relay.Link
	cards *pcscd.Daemon // the workstation's
	seat  *pivcard.Slot // of the workstation's reader
	agent *exec.Cmd     // nil: not running
	bin   string        // of the agent
	said  lockedBuffer  // by the agent
	asked string        // file the questions are appended to
	typed string        // file with what is typed
}

// newFar starts all; the workstation is enrolled and connected.
func newFar(t testing.TB, delay time.Duration) *far {
	t.Helper()
	f := &far{}
	newDesk(t, func(d *desk) { f.desk = d; f.build(t, delay) })
	f.enrol()
	f.startAgent()
	f.until("the far reader", func(c *wire.Card) bool { _, ok := f.reader(c); return ok })
	return f
}

// build makes the cable, tells the site file of the room, and moves cardauth to
// the cable's other end.
func (f *far) build(t testing.TB, delay time.Duration) {
	t.Helper()
	gw, ws := f.space(t, "gw"), f.space(t, "ws")
	f.ws2 = ws
	ends := make([]relay.End, 2)
	for i, s := range []*netns.Space{gw, ws} {
		end, err := relay.TAP(s, "lan")
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = end
	}
	f.cable = relay.New(ends[0], ends[1], 1)
	t.Cleanup(func() { f.cable.Close() })
	f.cable.Set(relay.Faults{Delay: delay})
	for s, addr := range map[*netns.Space]string{gw: "10.20.0.2/24", ws: "10.20.0.50/24"} {
		if err := s.Up("lan"); err != nil {
			t.Fatal(err)
		}
		if err := s.Addr("lan", addr); err != nil {
			t.Fatal(err)
		}
	}
	if err := ws.Addr("lan", "10.20.0.51/24"); err != nil {
		t.Fatal(err)
	}
	f.other(t, gw)
	site := filepath.Join(f.dir, "site", "site.toml")
	text, err := os.ReadFile(site)
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.Replace(string(text), fmt.Sprintf("listen = %q", f.addr), `listen = "10.20.0.2:8444"`, 1)
	moved += "\n[card.agents]\nlisten = \"10.20.0.2:8445\"\n[[card.reader]]\nroom = \"" + farRoom + "\"\nagent = true\n"
	if err := os.WriteFile(site, []byte(moved), 0o644); err != nil {
		t.Fatal(err)
	}
	f.addr = "10.20.0.2:8444"
	f.place.put = func(c *exec.Cmd) { into(gw, c) }
	f.place.dial = ws.DialContext
	f.cards, f.seat = pcscd.Start(t), pivcard.NewSlot()
	f.cards.Plug(t, f.seat, 0)
	f.bin = built(t, "./agent")
	f.askpass(t)
}

// other is a computer on a cable of its own.
func (f *far) other(t testing.TB, gw *netns.Space) {
	t.Helper()
	f.thief = f.space(t, "th")
	if err := netns.Veth(gw, "lan2", f.thief, "lan"); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{gw.Addr("lan2", "10.21.0.1/24"), f.thief.Addr("lan", "10.21.0.52/24"), f.thief.Route("10.20.0.0/24", "10.21.0.1")} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (f *far) space(t testing.TB, what string) *netns.Space {
	t.Helper()
	s, err := netns.New(fmt.Sprintf("cg-t%d-%s%d", os.Getpid(), what, time.Now().UnixNano()%100000))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// into has a program run in a namespace.
func into(s *netns.Space, c *exec.Cmd) {
	path, err := exec.LookPath("ip")
	if err != nil {
		path = "/sbin/ip"
	}
	c.Args = append([]string{path, "netns", "exec", s.Name}, c.Args...)
	c.Path = path
}

// askpass is who sits at the workstation: notes the question, types what is in a
// file; no file, no PIN.
func (f *far) askpass(t testing.TB) {
	t.Helper()
	f.asked, f.typed = filepath.Join(f.dir, "asked"), filepath.Join(f.dir, "typed")
	script := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$1\" >>%q\nexec cat %q\n", f.asked, f.typed)
	if err := os.WriteFile(filepath.Join(f.dir, "askpass"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	f.types(rightPIN)
}

// types says what is typed from now on; nothing: nobody is there.
func (f *far) types(pin string) {
	f.t.Helper()
	_ = os.Remove(f.typed)
	if pin == "" {
		return
	}
	if err := os.WriteFile(f.typed, []byte(pin+"\n"), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// questions is how often somebody was asked for a PIN.
func (f *far) questions() int {
	data, _ := os.ReadFile(f.asked)
	return strings.Count(string(data), "\n")
}

// control asks cardauth as gatectl does.
func (f *far) control(method, path string, into any) {
	f.t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(f.dir, "run", "cardauth.sock"))
	}}}
	req, err := http.NewRequest(method, "http://cardauth"+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// invite returns a code for the room.
func (f *far) invite() string {
	f.t.Helper()
	var got struct{ Code string }
	f.control(http.MethodPost, "/rooms/"+farRoom+"/invite", &got)
	return got.Code
}

// enrol types a code at the workstation.
func (f *far) enrol() {
	f.t.Helper()
	if out, err := f.enrolWith(f.invite(), "agent-state"); err != nil {
		f.t.Fatalf("enrol: %v\n%s", err, out)
	}
}

func (f *far) enrolWith(code, state string) (string, error) {
	cmd := exec.Command(f.bin, "enrol", "-gateway", "10.20.0.2:8445", "-state", filepath.Join(f.dir, state))
	into(f.ws2, cmd)
	cmd.Stdin = strings.NewReader(code + "\n")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (f *far) startAgent() {
	f.t.Helper()
	f.agent = f.agentAt("agent-state")
	f.t.Cleanup(func() {
		f.killAgent()
		if f.t.Failed() {
			f.t.Logf("the agent said:\n%s", f.said.String())
		}
		if strings.Contains(f.said.String(), rightPIN) {
			f.t.Error("the PIN is in the agent's log")
		}
	})
}

func (f *far) agentAt(state string) *exec.Cmd {
	f.t.Helper()
	return f.agentIn(f.ws2, filepath.Join(f.dir, state))
}

// elsewhere gives the workstations' side one more address, and has clients use it.
func (f *far) elsewhere(t testing.TB) {
	t.Helper()
	f.place.dial = func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		err = f.ws2.Do(func() error {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(10, 20, 0, 51)}}
			conn, err = d.DialContext(ctx, network, addr)
			return err
		})
		return conn, err
	}
}

// agentFrom runs an agent whose packets come from that other address.
func (f *far) agentFrom(state string) *exec.Cmd {
	f.t.Helper()
	return f.agentIn(f.thief, state)
}

func (f *far) agentIn(space *netns.Space, state string) *exec.Cmd {
	f.t.Helper()
	cmd := exec.Command(f.bin, "run", "-state", state, "-askpass", filepath.Join(f.dir, "askpass"))
	into(space, cmd)
	cmd.Env = f.cards.Env()
	cmd.Stderr = &f.said
	if err := proc.Bound(cmd); err != nil {
		f.t.Fatal(err)
	}
	return cmd
}

// killAgent is a workstation that loses its power.
func (f *far) killAgent() {
	if f.agent != nil {
		_ = f.agent.Process.Signal(syscall.SIGKILL)
		_ = f.agent.Wait()
		f.agent = nil
	}
}

// reader is the far room's reader as published.
func (f *far) reader(c *wire.Card) (wire.Reader, bool) {
	for _, r := range c.Readers {
		if r.Room == farRoom {
			return r, true
		}
	}
	return wire.Reader{}, false
}

func (f *far) farState(state string) func(*wire.Card) bool {
	return func(c *wire.Card) bool { r, ok := f.reader(c); return ok && r.State == state }
}

// present puts a doctor's card into the far reader.
func (f *far) present(registration string) *pivcard.Card {
	f.t.Helper()
	c := f.card(f.world.Professionals, registration)
	if err := f.seat.Insert(c); err != nil {
		f.t.Fatal(err)
	}
	f.until("the card in the far reader", f.farState(wire.ReaderCard))
	return c
}

func (f *far) farLogin() answer {
	f.t.Helper()
	return f.call(f.ws, "/v1/login", "", `{"room":"`+farRoom+`"}`)
}

func (f *far) mustFarLogin() answer {
	f.t.Helper()
	a := f.farLogin()
	if a.Status != http.StatusOK {
		f.t.Fatalf("login: %+v", a)
	}
	f.until("the session", lists(a.Session.ID))
	return a
}

// ends waits for a session's end and returns how long it took since start.
func (f *far) ends(sid string, start time.Time) time.Duration {
	f.t.Helper()
	return f.until("the end of "+sid, func(c *wire.Card) bool { return !lists(sid)(c) }).Sub(start)
}

// A visit at a room whose workstation has the reader, over a cable of 40 ms: the
// PIN is typed there, the session lives on, and is over when the card, the agent or
// the cable is gone.
func TestRoomAgent(t *testing.T) {
	f := newFar(t, 40*time.Millisecond)
	f.refused(f.farLogin(), http.StatusConflict, "no-card")
	card := f.present("7")
	f.refused(f.call(f.ws, "/v1/login", "", `{"room":"`+farRoom+`","pin":"123456"}`), http.StatusBadRequest, "pin-at-reader")
	f.types("")
	f.refused(f.farLogin(), http.StatusUnauthorized, "no-pin")
	f.types("111111")
	f.refused(f.farLogin(), http.StatusUnauthorized, "wrong-pin")
	if card.Tries() != 2 {
		t.Fatalf("%d tries left, want 2", card.Tries())
	}
	time.Sleep(1100 * time.Millisecond)
	f.types(rightPIN)
	a := f.mustFarLogin()
	time.Sleep(3 * time.Second) // it lives on by proofs alone
	if got := f.call(f.ws, "/v1/renew", a.Token, ""); got.Status != http.StatusOK {
		t.Fatalf("renew: %+v", got)
	}
	for _, end := range []struct {
		how  string
		do   func()
		undo func()
	}{
		{"card out", func() { f.seat.Remove() }, func() {
			if err := f.seat.Insert(card); err != nil {
				t.Fatal(err)
			}
		}},
		{"agent killed", f.killAgent, func() { f.agent = f.agentAt("agent-state") }},
		{"cable cut", f.cable.Cut, func() { f.cable.Set(relay.Faults{Delay: 40 * time.Millisecond}) }},
	} {
		start := time.Now()
		end.do()
		took := f.ends(a.Session.ID, start)
		t.Logf("%s: session over after %v", end.how, took.Round(time.Millisecond))
		f.until("the reader without the card, or gone", func(c *wire.Card) bool { return !f.farState(wire.ReaderCard)(c) })
		end.undo()
		f.until("the card in again", f.farState(wire.ReaderCard))
		a = f.mustFarLogin()
	}
	if card.Tries() != 3 {
		t.Errorf("%d tries left, want 3", card.Tries())
	}
}
