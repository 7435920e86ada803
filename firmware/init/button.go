package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"clinicgate/firmware/button"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/lamp"
	"clinicgate/firmware/reset"
	"clinicgate/firmware/wirefile"
)

// watchButton has the button at the front judged, and the box restarted by it.
func (b *box) watchButton(sys, dev string) error {
	hw := b.cmd.board.Button
	if hw.Device == "" {
		return nil
	}
	return watchKey(sys, dev, hw.Device, hw.Code, func(down bool) bool {
		b.pressed(b.front.press(down, time.Now()))
		return true
	})
}

// press takes a change of the button.
func (f *front) press(down bool, now time.Time) button.Action {
	f.mu.Lock()
	a := f.button.Press(down, now)
	f.mu.Unlock()
	wake(f.changed)
	return a
}

// pressed does what the button asks for.
func (b *box) pressed(a button.Action) {
	if a == button.None {
		return
	}
	b.log.Info("button", "asks", string(a))
	switch a {
	case button.DoRestart:
		say("restart: somebody held the button")
	case button.AskReset:
		if err := askReset(b.data, resetAsked); err != nil {
			say("factory reset: %v", err)
			return
		}
		say("factory reset asked for: the box restarts; press the button for a second or two within 3 minutes to confirm")
	case button.DropReset:
		say("factory reset: nobody confirmed it")
		return
	case button.DoReset:
		// Who presses a button has not read what would be lost.
		if n := undelivered(runDir, wirefile.Alive); n != 0 {
			say("factory reset: not done: %s; see gatectl factory-reset", lost(n))
			return
		}
		if err := resetData().Give(reset.Order{At: time.Now().UTC().Truncate(time.Second), By: "the button"}); err != nil {
			say("factory reset: %v", err)
			return
		}
		say("factory reset: the box restarts for it")
	}
	select {
	case b.endings <- reboot:
	default: // it is ending already
	}
}

// resetAsked remembers over a restart that the button asked for a reset.
const resetAsked = "/data/init/reset-asked"

// askReset remembers. Stop here: either nobody asked, or a second press is waited for.
func askReset(data bool, path string) error {
	if !data {
		return errors.New("the data partition can't be used")
	}
	return durable.WriteFile(path, []byte("by the button\n"), 0o600)
}

// wasAsked reports whether a reset was asked for before this start, and forgets it:
// a power cut from here on means that it has to be asked for again.
func wasAsked(path string) (bool, error) {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, durable.SyncDir(filepath.Dir(path))
}

// awaitConfirmation begins the time in which a second press confirms a reset.
func (f *front) awaitConfirmation(asked bool, now time.Time) {
	f.mu.Lock()
	f.button.Asked, f.button.Started = asked, now
	f.mu.Unlock()
	wake(f.changed)
}

// tick lets time pass for the button.
func (f *front) tick(now time.Time) button.Action {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.button.Tick(now)
}

// frontPanel begins to work the light and the button. Without either the box works
// as well.
func (b *box) frontPanel(sys, dev string) (*lights, error) {
	if err := b.watchButton(sys, dev); err != nil {
		b.log.Warn("button", "err", err)
	}
	return openLights(sys, b.cmd.board.Lamp)
}

// answerLamp takes what the console says the light should.
func (f *front) answerLamp(said string, now time.Time) error {
	s := lamp.State(said)
	if !lamp.Valid(s) {
		return fmt.Errorf("lamp: got %.20q, want starting, good, backup, updating or help", said)
	}
	f.say(s, now)
	return nil
}
