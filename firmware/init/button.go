package main

import (
	"fmt"
	"time"

	"clinicgate/firmware/button"
	"clinicgate/firmware/lamp"
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
	if a != button.DoRestart {
		return
	}
	say("restart: somebody held the button")
	b.log.Info("button", "asks", string(a))
	select {
	case b.endings <- reboot:
	default: // it is ending already
	}
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
