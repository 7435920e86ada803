package console

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// dumb are the values of TERM of terminals that can't move their cursor.
var dumb = []string{"", "dumb", "unknown", "network"}

// closing is how long the screen may take to leave the terminal in order.
const closing = 400 * time.Millisecond

// Serve is the console on a terminal, or on what else in and out are: full screens
// where both are a terminal of a kind that can show them, else the plain menu. It
// returns when in ends or ctx does, at once even if the terminal takes nothing:
// whatever waits for it is left behind, for the process to end.
func Serve(ctx context.Context, in io.Reader, out io.Writer, kind string, first func(io.Writer), look Look, commands []Command) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	tty := terminal(in)
	if tty != nil {
		if err := tty.set(false); err != nil {
			return err
		}
		defer tty.restore()
	}
	able := tty != nil && terminal(out) != nil && !slices.Contains(dumb, kind)
	done := make(chan error, 1)
	go func() { done <- alternate(ctx, in, out, tty, able, first, look, commands) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(closing):
		return nil
	}
}

// alternate shows the screen or the plain menu, until both have had enough.
func alternate(ctx context.Context, in io.Reader, out io.Writer, tty *tty, able bool, first func(io.Writer), look Look, commands []Command) error {
	if !able {
		return Run(ctx, in, out, first, commands)
	}
	resized := make(chan [2]int, 1)
	go tty.watch(ctx, resized)
	keys := &keyboard{pieces: make(chan []byte)}
	go keys.pump(ctx, in)
	for {
		if err := tty.set(true); err != nil {
			return err
		}
		plain, err := full(ctx, keys, out, tty.size(), resized, look, commands)
		if !plain {
			return err
		}
		if err := tty.set(false); err != nil {
			return err
		}
		if _, err := io.WriteString(out, "\x1b[H\x1b[J"); err != nil {
			return err
		}
		c := newSession(ctx, keys.until(ctx), out, commands)
		c.full = true
		if err := c.run(first); err != errFull {
			return err
		}
	}
}

// tty is a terminal and how it was found.
type tty struct {
	fd    int
	found unix.Termios
}

// terminal returns the terminal that f is, or nil.
func terminal(f any) *tty {
	file, ok := f.(*os.File)
	if !ok {
		return nil
	}
	fd := int(file.Fd())
	found, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil
	}
	return &tty{fd: fd, found: *found}
}

// set makes the line fit for noise and pulled cables: nothing that comes in stops
// what goes out or ends the program, and no modem line is waited for. Each key
// comes at once, unseen, if raw. What goes out is left alone: PID 1 and the kernel
// write here too.
func (t *tty) set(raw bool) error {
	s := t.found
	s.Iflag &^= unix.IXON | unix.IXOFF | unix.BRKINT | unix.PARMRK | unix.ISTRIP
	s.Iflag |= unix.IGNBRK | unix.IGNPAR
	s.Cflag &^= unix.CRTSCTS
	s.Cflag |= unix.CLOCAL
	s.Lflag &^= unix.ISIG
	s.Oflag |= unix.OPOST | unix.ONLCR
	if raw {
		s.Iflag &^= unix.ICRNL | unix.INLCR | unix.IGNCR
		s.Lflag &^= unix.ICANON | unix.ECHO | unix.ECHONL | unix.IEXTEN
		s.Cc[unix.VMIN], s.Cc[unix.VTIME] = 1, 0
	} else {
		s.Iflag |= unix.ICRNL
		s.Lflag |= unix.ICANON | unix.ECHO
	}
	if err := unix.IoctlSetTermios(t.fd, unix.TCSETS, &s); err != nil {
		return fmt.Errorf("set the terminal's mode: %w", err)
	}
	return nil
}

// restore leaves the terminal as it was found. It does not wait for what was not
// sent yet.
func (t *tty) restore() { _ = unix.IoctlSetTermios(t.fd, unix.TCSETS, &t.found) }

// size is zeros where nobody knows.
func (t *tty) size() [2]int {
	ws, err := unix.IoctlGetWinsize(t.fd, unix.TIOCGWINSZ)
	if err != nil {
		return [2]int{}
	}
	return [2]int{int(ws.Col), int(ws.Row)}
}

// watch tells of new sizes; of several at once the last counts.
func (t *tty) watch(ctx context.Context, sizes chan [2]int) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, unix.SIGWINCH)
	defer signal.Stop(changed)
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		select {
		case <-sizes:
		default:
		}
		sizes <- t.size()
	}
}
