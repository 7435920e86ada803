package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"clinicgate/board"
	"clinicgate/firmware/button"
	"clinicgate/firmware/lamp"
)

// lights are the two of a board's front, as files.
type lights struct {
	good, bad string
	shown     lamp.Flash
	known     bool // that they show it
}

// openLights finds the lights and takes them from whatever drives them. A board
// without returns nil.
func openLights(sys string, l board.Lamp) (*lights, error) {
	if l.Good == "" {
		return nil, nil
	}
	var found [2]string
	for i, name := range []string{l.Good, l.Bad} {
		dirs, err := filepath.Glob(filepath.Join(sys, "class/leds", name))
		if err != nil || len(dirs) == 0 {
			return nil, fmt.Errorf("find light %s: none under %s", name, filepath.Join(sys, "class/leds"))
		}
		if err := os.WriteFile(filepath.Join(dirs[0], "trigger"), []byte("none"), 0); err != nil {
			return nil, fmt.Errorf("take light %s: %w", name, err)
		}
		found[i] = filepath.Join(dirs[0], "brightness")
	}
	return &lights{good: found[0], bad: found[1]}, nil
}

// show sets the lights, if they are not so already.
func (l *lights) show(f lamp.Flash) error {
	if l.known && f.Good == l.shown.Good && f.Bad == l.shown.Bad {
		return nil
	}
	l.shown, l.known = f, true
	return errors.Join(set(l.good, f.Good), set(l.bad, f.Bad))
}

// set writes the kernel's greatest brightness, whatever the light's own is.
func set(path string, on bool) error {
	text := "0"
	if on {
		text = "255"
	}
	return os.WriteFile(path, []byte(text), 0)
}

// front is the light and the button at the front, and what is known for them. Main
// loop, control socket and the button's reader meet here.
type front struct {
	mu      sync.Mutex
	own     lamp.Own
	said    lamp.State
	saidAt  time.Time
	button  button.Machine
	changed chan struct{}
}

func newFront() *front { return &front{changed: make(chan struct{}, 1)} }

// know takes what PID 1 knows.
func (f *front) know(change func(*lamp.Own)) {
	f.mu.Lock()
	change(&f.own)
	f.mu.Unlock()
	wake(f.changed)
}

// say takes what the console says of the clinic.
func (f *front) say(s lamp.State, now time.Time) {
	f.mu.Lock()
	f.said, f.saidAt = s, now
	f.mu.Unlock()
	wake(f.changed)
}

// state is what the light says now.
func (f *front) state(now time.Time) lamp.State {
	f.mu.Lock()
	defer f.mu.Unlock()
	return lamp.Show(f.own, f.said, now.Sub(f.saidAt))
}

// pattern is what the light shows, and a name for it.
func (f *front) pattern(now time.Time) ([]lamp.Flash, string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if down, restart, reset := f.button.Held(now); down {
		return lamp.Held(restart, reset), fmt.Sprint("held", restart, reset)
	}
	if f.button.Asked {
		return lamp.Held(true, true), "reset asked for"
	}
	s := lamp.Show(f.own, f.said, now.Sub(f.saidAt))
	return lamp.Pattern(s), string(s)
}

// glance is how often the light is thought about when nothing changes.
const glance = time.Second

// shine drives the lights until ctx ends. It never holds up the main loop: a light
// that can't be set is reported once and left.
func (f *front) shine(ctx context.Context, l *lights) error {
	began, last := time.Now(), ""
	for {
		now := time.Now()
		pattern, name := f.pattern(now)
		if name != last {
			began, last = now, name
		}
		flash, next := lamp.At(pattern, now.Sub(began))
		if err := l.show(flash); err != nil {
			return fmt.Errorf("set the light: %w", err)
		}
		if next <= 0 || next > glance {
			next = glance
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-f.changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}
