package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/board"
	"clinicgate/firmware/button"
	"clinicgate/firmware/lamp"
)

// fakeLights are two lights as sysfs has them.
func fakeLights(t *testing.T) (sys string, l board.Lamp) {
	t.Helper()
	sys = t.TempDir()
	for _, name := range []string{"input3::numlock", "input3::scrolllock"} {
		dir := filepath.Join(sys, "class/leds", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"trigger": "none [kbd-numlock] timer", "brightness": "1"} {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return sys, board.Lamp{Good: "*::numlock", Bad: "*::scrolllock"}
}

func light(t *testing.T, sys, name, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(sys, "class/leds/input3::"+name, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The light follows what is known: at the start, what the console says, and help
// when nobody says anything any more.
func TestLampFollows(t *testing.T) {
	sys, l := fakeLights(t)
	lights, err := openLights(sys, l)
	if err != nil {
		t.Fatal(err)
	}
	if got := light(t, sys, "numlock", "trigger"); got != "none" {
		t.Errorf("trigger %q: the kernel still drives it", got)
	}
	ctx, stop := context.WithCancel(t.Context())
	f := newFront()
	done := make(chan error, 1)
	go func() { done <- f.shine(ctx, lights) }()
	shows := func(good, bad string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); light(t, sys, "numlock", "brightness") != good || light(t, sys, "scrolllock", "brightness") != bad; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("green %s, red %s, want %s, %s", light(t, sys, "numlock", "brightness"), light(t, sys, "scrolllock", "brightness"), good, bad)
			}
		}
	}
	shows("255", "0") // it blinks
	shows("0", "0")
	f.know(func(o *lamp.Own) { o.Ready = true })
	shows("0", "255")
	if err := f.answerLamp("good", time.Now()); err != nil {
		t.Fatal(err)
	}
	shows("255", "0")
	if err := f.answerLamp("help", time.Now()); err != nil {
		t.Fatal(err)
	}
	shows("0", "255")
	if err := f.answerLamp("\x1b[2Jdisco", time.Now()); err == nil || !strings.Contains(err.Error(), "want starting, good") {
		t.Errorf("got %v", err)
	}
	f.press(true, time.Now().Add(-button.Reset))
	shows("255", "255") // letting go asks for a reset
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := f.state(time.Now().Add(time.Hour)); got != lamp.Help {
		t.Errorf("an hour later: %s", got)
	}
}

func TestNoLights(t *testing.T) {
	if l, err := openLights(t.TempDir(), board.Lamp{Why: "none"}); l != nil || err != nil {
		t.Errorf("got %v, %v", l, err)
	}
	if _, err := openLights(t.TempDir(), board.Lamp{Good: "a", Bad: "b"}); err == nil || !strings.Contains(err.Error(), "find light a") {
		t.Errorf("got %v", err)
	}
}

// Five seconds on the button restart the box; a touch does not, whatever it is.
func TestButtonRestarts(t *testing.T) {
	var log bytes.Buffer
	b := &box{front: newFront(), endings: make(chan ending, 1), log: slog.New(slog.NewTextHandler(&log, nil))}
	now := time.Now()
	b.pressed(b.front.press(true, now))
	b.pressed(b.front.press(false, now.Add(time.Second)))
	select {
	case how := <-b.endings:
		t.Fatalf("a touch ends in %s", how)
	default:
	}
	b.pressed(b.front.press(true, now))
	b.pressed(b.front.press(false, now.Add(6*time.Second)))
	if how := <-b.endings; how != reboot {
		t.Errorf("got %s", how)
	}
}

// A reset takes a second press after the restart that the first one brought, is
// asked for once, and lapses.
func TestButtonAsksForReset(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reset-asked")
	if err := askReset(false, path); err == nil {
		t.Error("asked without a data partition")
	}
	if asked, err := wasAsked(path); asked || err != nil {
		t.Fatalf("asked %v, %v", asked, err)
	}
	if err := askReset(true, path); err != nil {
		t.Fatal(err)
	}
	asked, err := wasAsked(path)
	if !asked || err != nil {
		t.Fatalf("asked %v, %v", asked, err)
	}
	if again, _ := wasAsked(path); again {
		t.Error("a second start asks again")
	}
	f, now := newFront(), time.Now()
	f.awaitConfirmation(asked, now)
	if _, name := f.pattern(now); name != "reset asked for" {
		t.Errorf("shows %s", name)
	}
	f.press(true, now.Add(time.Minute))
	if a := f.press(false, now.Add(time.Minute+2*time.Second)); a != button.DoReset {
		t.Errorf("got %q", a)
	}
	f.awaitConfirmation(true, now)
	if a := f.tick(now.Add(button.Confirm + time.Second)); a != button.DropReset {
		t.Errorf("got %q", a)
	}
}

// Nothing that is nowhere but here goes by a press: where nobody counted the uploads,
// none may be lost.
func TestButtonDestroysNoUploads(t *testing.T) {
	b := &box{front: newFront(), endings: make(chan ending, 1), log: slog.New(slog.DiscardHandler)}
	b.pressed(button.DoReset) // no syncd says here what waits
	select {
	case how := <-b.endings:
		t.Errorf("ends in %s", how)
	default:
	}
}

func TestReadKey(t *testing.T) {
	event := func(kind, code uint16, value uint32) []byte {
		b := make([]byte, 16, 24) // struct timeval
		b = binary.NativeEndian.AppendUint16(b, kind)
		b = binary.NativeEndian.AppendUint16(b, code)
		return binary.NativeEndian.AppendUint32(b, value)
	}
	const key, ours, repeat = 1, 88, 2
	var got []bool
	readKey(bytes.NewReader(bytes.Join([][]byte{event(key, 30, 1), event(key, ours, 1), event(key, ours, repeat), event(0, 0, 0), event(key, ours, 0), event(key, ours, 1), event(key, ours, 0)}, nil)), ours,
		func(down bool) bool { got = append(got, down); return len(got) < 3 })
	if len(got) != 3 || !got[0] || got[1] || !got[2] {
		t.Errorf("got %v", got)
	}
}
