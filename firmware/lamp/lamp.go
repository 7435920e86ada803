// Package lamp is what the light at the front of a box says. Each state has a shape
// of its own in time, so that nobody needs to see colours; the one guarantee is that
// the same state shows the same shape on every board.
package lamp

import "time"

// State is what the light says.
type State string

// The states. A dark lamp has no power.
const (
	Starting State = "starting" // or being set up: double pulse
	Good     State = "good"     // steady, green
	Backup   State = "backup"   // on a back-up line, or trying again: slow
	Updating State = "updating" // do not unplug: fast
	Help     State = "help"     // call support: steady, red
)

// Valid reports whether s is one of them.
func Valid(s State) bool { return Pattern(s) != nil }

// Flash is a part of a pattern. A zero For lasts for ever.
type Flash struct {
	Good, Bad bool // the green light, the red one
	For       time.Duration
}

// Pattern is what repeats in a state; nil for none that there is.
func Pattern(s State) []Flash {
	const ms = time.Millisecond
	switch s {
	case Starting:
		return []Flash{{Good: true, For: 150 * ms}, {For: 150 * ms}, {Good: true, For: 150 * ms}, {For: 600 * ms}}
	case Good:
		return []Flash{{Good: true}}
	case Backup:
		return []Flash{{Good: true, For: 300 * ms}, {For: 300 * ms}}
	case Updating:
		return []Flash{{Good: true, For: 100 * ms}, {For: 100 * ms}}
	case Help:
		return []Flash{{Bad: true}}
	}
	return nil
}

// Held is what shows while the button is held so long: a red flash for each second
// that counts, two from when letting go restarts the box, and steady from when it
// asks for a factory reset.
func Held(restart, reset bool) []Flash {
	const ms = time.Millisecond
	switch {
	case reset:
		return []Flash{{Good: true, Bad: true}}
	case restart:
		return []Flash{{Bad: true, For: 100 * ms}, {For: 150 * ms}, {Bad: true, For: 100 * ms}, {For: 650 * ms}}
	}
	return []Flash{{Bad: true, For: 100 * ms}, {For: 900 * ms}}
}

// At is the part of a pattern that shows so long after it began, and for how much
// longer; zero is for ever.
func At(pattern []Flash, after time.Duration) (Flash, time.Duration) {
	whole := time.Duration(0)
	for _, f := range pattern {
		if f.For <= 0 {
			return f, 0
		}
		whole += f.For
	}
	if whole == 0 {
		return Flash{}, 0
	}
	after = max(after, 0) % whole
	for _, f := range pattern {
		if after < f.For {
			return f, f.For - after
		}
		after -= f.For
	}
	return pattern[0], pattern[0].For // not reached
}

// Fresh is how long what the console says of the clinic holds. After that nobody
// knows how the clinic is.
const Fresh = 30 * time.Second

// Own is what PID 1 knows by itself.
type Own struct {
	Ready    bool // every service was ready once since the start
	Trial    bool // this start is a release's trial
	Updating bool // a release is being armed, or the box ends for one
}

// Show chooses: what PID 1 sees itself, then what the console said last and how
// long ago.
func Show(own Own, said State, ago time.Duration) State {
	switch {
	case own.Updating || own.Trial && own.Ready:
		return Updating
	case !own.Ready:
		return Starting
	case !Valid(said) || ago > Fresh:
		return Help
	}
	return said
}
