package depot

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/release"
)

// alone keeps other programs from changing the depot until unlock: every change
// reads what is signed, adds to it and signs it anew.
func (d Depot) alone() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(d.Dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock depot: %w", err)
	}
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock depot: %w", err)
	}
	return func() { f.Close() }, nil
}

// Halt halts a ring's rollout of a version. When the ring has been told something
// else meanwhile, or is halted already, that stays, and halted is false.
func (d Depot) Halt(board, ring, version, why string, keys Keys) (halted bool, err error) {
	unlock, err := d.alone()
	if err != nil {
		return false, err
	}
	defer unlock()
	now, err := d.Ring(board, ring)
	if err != nil || now.Version != version || now.Halted != "" {
		return false, err
	}
	return true, d.steer(board, ring, release.Ring{Version: version, Percent: now.Percent, Halted: why}, keys)
}
