package timeserver

import (
	"fmt"
	"math/bits"
	"time"

	"golang.org/x/sys/unix"
)

// Kernel is the machine's clock. Changing it needs CAP_SYS_TIME.
type Kernel struct{}

// Flags of adjtimex(2) that x/sys does not name.
const (
	modeOffset     = 0x0001
	modeMaxError   = 0x0004
	modeEstError   = 0x0008
	modeStatus     = 0x0010
	modeConstant   = 0x0020
	modeSetOffset  = 0x0100
	modeNano       = 0x2000
	modeSingleShot = 0x8001
	statusPLL      = 0x0001
)

// Step sets the clock at once.
func (Kernel) Step(by time.Duration) error {
	sec := by.Truncate(time.Second)
	if by < sec {
		sec -= time.Second // the parts of a second count forward
	}
	tx := unix.Timex{Modes: modeSetOffset | modeNano, Time: unix.Timeval{Sec: int64(sec / time.Second), Usec: int64(by - sec)}}
	if _, err := unix.Adjtimex(&tx); err != nil {
		return fmt.Errorf("set the clock: %w", err)
	}
	return nil
}

// Slew has the kernel make up for the offset at 500 parts in a million.
func (Kernel) Slew(by time.Duration) error {
	tx := unix.Timex{Modes: modeSingleShot, Offset: by.Microseconds()}
	if _, err := unix.Adjtimex(&tx); err != nil {
		return fmt.Errorf("slew the clock: %w", err)
	}
	return nil
}

// Steer feeds the kernel's loop, which learns the clock's rate (RFC 5905 §12); every
// is how often it is fed.
func (Kernel) Steer(by, bound, every time.Duration) error {
	constant := max(bits.Len64(uint64(every/time.Second))-1-4, 0)
	tx := unix.Timex{
		Modes:  modeOffset | modeStatus | modeConstant | modeMaxError | modeEstError | modeNano,
		Status: statusPLL, Offset: by.Nanoseconds(), Constant: int64(constant),
		Maxerror: bound.Microseconds(), Esterror: by.Abs().Microseconds(),
	}
	if _, err := unix.Adjtimex(&tx); err != nil {
		return fmt.Errorf("steer the clock: %w", err)
	}
	return nil
}
