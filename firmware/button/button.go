// Package button is what pressing the button at the front of a box asks for. Its
// one guarantee: a factory reset takes two acts of a person with a restart between
// them, and a button that is stuck or bounces is none.
package button

import "time"

// How long a press has to be.
const (
	Restart = 5 * time.Second
	Reset   = 15 * time.Second
	Stuck   = time.Minute // longer is no finger
	bounce  = 50 * time.Millisecond
	// Confirm is how long after the restart a second press confirms a reset.
	Confirm = 3 * time.Minute
	// confirmPress is how long that press is, so that a touch is none.
	confirmPress = time.Second
)

// Action is what the box is to do.
type Action string

// The actions.
const (
	None      Action = ""
	DoRestart Action = "restart"
	AskReset  Action = "ask-reset" // remember it, and restart
	DoReset   Action = "reset"
	DropReset Action = "drop-reset" // nobody confirmed it: forget it
)

// Machine judges presses. Asked is set at the start when a reset was asked for
// before it.
type Machine struct {
	Asked   bool
	Started time.Time // of the box, or of looking at the button
	down    time.Time
}

// Press takes a change: the button went down, or came up.
func (m *Machine) Press(down bool, now time.Time) Action {
	if down {
		if m.down.IsZero() {
			m.down = now
		}
		return None
	}
	held := now.Sub(m.down)
	if m.down.IsZero() || held < bounce {
		m.down = time.Time{}
		return None
	}
	m.down = time.Time{}
	switch {
	case held >= Stuck:
		return None
	case m.Asked && held >= confirmPress && held < Restart && now.Sub(m.Started) <= Confirm:
		m.Asked = false
		return DoReset
	case held >= Reset:
		return AskReset
	case held >= Restart:
		return DoRestart
	}
	return None
}

// Tick lets time pass: a reset that nobody confirms lapses.
func (m *Machine) Tick(now time.Time) Action {
	if m.Asked && now.Sub(m.Started) > Confirm && m.down.IsZero() {
		m.Asked = false
		return DropReset
	}
	return None
}

// Held says whether the button is down, and what letting go would ask for.
func (m *Machine) Held(now time.Time) (down, restart, reset bool) {
	if m.down.IsZero() {
		return false, false, false
	}
	held := now.Sub(m.down)
	if held >= Stuck {
		return false, false, false // what hangs down is shown no longer
	}
	return true, held >= Restart, held >= Reset
}
