// Package pty gives tests a terminal line with two ends, as a serial line has.
package pty

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Open returns the person's end and the program's, of no size, as a serial line is;
// Resize gives it one. Reads at the person's end can be interrupted by closing it.
func Open(tb testing.TB) (person, program *os.File) {
	tb.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		tb.Fatal(err)
	}
	person = os.NewFile(uintptr(fd), "ptmx")
	tb.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		tb.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		tb.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { program.Close() })
	return person, program
}

// Resize tells the terminal's size. Who runs in it is told by SIGWINCH only if it
// is their controlling terminal.
func Resize(tb testing.TB, program *os.File, width, height uint16) {
	tb.Helper()
	size := unix.Winsize{Col: width, Row: height}
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &size); err != nil {
		tb.Fatal(err)
	}
}
