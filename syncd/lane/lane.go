// Package lane decides which waiting item leaves next. It is pure: items come in
// as values, time and jitter are arguments, and nothing here sleeps or sends. Its
// one guarantee: an item that can't be delivered holds up only what must follow
// it, the later items of the same patient or device.
package lane

import "fmt"

// Lane is a priority class. The zero value is no lane.
type Lane uint8

// The lanes, most urgent first.
const (
	Stat    Lane = iota + 1 // someone waits for it now
	Routine                 // today
	Bulk                    // when the link has nothing better to do
)

// All lists the lanes, most urgent first.
func All() []Lane { return []Lane{Stat, Routine, Bulk} }

var names = [...]string{Stat: "stat", Routine: "routine", Bulk: "bulk"}

// String is the lane's name in wire files and stored records.
func (l Lane) String() string {
	if l < Stat || l > Bulk {
		return fmt.Sprintf("lane(%d)", uint8(l))
	}
	return names[l]
}

// Parse reads a lane's name.
func Parse(s string) (Lane, error) {
	for _, l := range All() {
		if names[l] == s {
			return l, nil
		}
	}
	return 0, fmt.Errorf("lane: got %q, want stat, routine or bulk", s)
}

// MarshalText writes the name.
func (l Lane) MarshalText() ([]byte, error) {
	if l < Stat || l > Bulk {
		return nil, fmt.Errorf("lane: got %d, want stat, routine or bulk", uint8(l))
	}
	return []byte(names[l]), nil
}

// UnmarshalText reads a name.
func (l *Lane) UnmarshalText(b []byte) error {
	got, err := Parse(string(b))
	if err == nil {
		*l = got
	}
	return err
}
