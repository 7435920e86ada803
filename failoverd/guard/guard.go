// Package guard is the second pair of eyes on the pair's addresses: a process of
// its own that takes them off the port when failoverd dies, however it dies, or is
// frozen. The kernel alone would keep them and answer for them beside the new
// master. Every hold ends by itself unless it is renewed in time.
package guard

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Arg, as the only argument, makes the program the guard.
const Arg = "guard"

// Guard is failoverd's end of the pipe. The zero value holds nothing until Run
// has started the process; methods may be called from several goroutines.
type Guard struct {
	mu   sync.Mutex
	pipe *os.File // nil: no guard
}

// A Hold is a claim to addresses on a device.
type Hold struct {
	Group     string
	Index     int // of the device
	Device    string
	For       time.Duration // from now; then they are taken off
	Addresses []netip.Prefix
}

// Keep starts or renews a hold. It never blocks: what a stuck guard does not take
// is an error, and the hold runs out.
func (g *Guard) Keep(h Hold) error { return g.tell(h.line()) }

// Free ends a hold without a deed: the addresses are off already.
func (g *Guard) Free(group string) error { return g.tell("free " + group + "\n") }

func (g *Guard) tell(line string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe == nil {
		return fmt.Errorf("tell guard: %w", os.ErrClosed)
	}
	raw, err := g.pipe.SyscallConn()
	if err != nil {
		return fmt.Errorf("tell guard: %w", err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { _, failed = unix.Write(int(fd), []byte(line)) }); err != nil {
		failed = err
	}
	if failed != nil {
		return fmt.Errorf("tell guard: %w", failed)
	}
	return nil
}

// again is the wait before a guard that ended is replaced.
const again = time.Second

// Run keeps a guard process alive until ctx ends, and calls ended with the reason
// each time one ends before that. The last guard is left to see the end of the
// program: its pipe is closed by the kernel, with everything else of ours.
func (g *Guard) Run(ctx context.Context, ended func(error)) error {
	for {
		err := g.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		ended(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

func (g *Guard) once(ctx context.Context) error {
	read, write, err := pipe()
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe", Arg)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stderr = read, os.Stderr
	// A session of its own: the supervisor kills what a dead failoverd left in its
	// process group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	read.Close()
	if err != nil {
		write.Close()
		return fmt.Errorf("start guard: %w", err)
	}
	g.swap(write)
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-done:
		g.swap(nil)
		return fmt.Errorf("guard ended: %v", err)
	}
}

func (g *Guard) swap(pipe *os.File) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pipe != nil {
		g.pipe.Close()
	}
	g.pipe = pipe
}

// pipe returns a pipe whose writing end does not block.
func pipe() (read, write *os.File, err error) {
	var fd [2]int
	if err := unix.Pipe2(fd[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("make guard's pipe: %w", err)
	}
	read, write = os.NewFile(uintptr(fd[0]), "guard"), os.NewFile(uintptr(fd[1]), "guard")
	if err := unix.SetNonblock(fd[1], true); err != nil {
		read.Close()
		write.Close()
		return nil, nil, fmt.Errorf("make guard's pipe: %w", err)
	}
	return read, write, nil
}

// line is one hold as it goes through the pipe, well under the 4096 bytes that
// are written whole or not at all.
func (h Hold) line() string {
	var all []string
	for _, a := range h.Addresses {
		all = append(all, a.String())
	}
	return fmt.Sprintf("hold %s %d %s %d %s\n", h.Group, h.Index, h.Device, h.For.Microseconds(), strings.Join(all, ","))
}
