// Package proc runs the programs of a lab: inside a namespace, with their output
// in a file. It guarantees that no program outlives the lab, however the lab ends.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lab/netns"
)

// Spec says what to run.
type Spec struct {
	Name  string            // in errors, and of the log file
	Args  []string          // program and arguments
	Dir   string            // working directory; empty: the lab's own
	Env   []string          // added to the lab's own environment
	Space *netns.Space      // nil: the lab's own namespace
	Binds map[string]string // folders shown to this program alone: path seen → real folder
	Log   string            // file its output is appended to
	UID   uint32            // user and, when not 0, group to run as
	GID   uint32
}

// Proc is a running or ended program.
type Proc struct {
	Spec
	from int64 // where in the log this run's output starts
	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; read after done
}

// Start starts a program. It is killed when the lab's process dies.
func Start(spec Spec) (*Proc, error) {
	if err := os.MkdirAll(filepath.Dir(spec.Log), 0o755); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Proc{Spec: spec, from: from, cmd: command(spec), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	started := make(chan error, 1)
	go p.run(started, log)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	return p, nil
}

func command(spec Spec) *exec.Cmd {
	cmd := exec.Command(spec.Args[0], spec.Args[1:]...)
	cmd.Dir = spec.Dir
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if spec.UID != 0 || spec.GID != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: spec.UID, Gid: spec.GID}
	}
	return cmd
}

// run owns the thread that forks the program for as long as the program lives:
// the kernel's death signal follows the thread, not the process.
func (p *Proc) run(started chan<- error, log io.Closer) {
	runtime.LockOSThread() // never unlocked
	defer close(p.done)
	defer log.Close()
	err := p.enter()
	if err == nil {
		err = p.cmd.Start()
	}
	started <- err
	if err == nil {
		p.err = p.cmd.Wait()
	}
}

// enter puts the calling thread, and so the program it forks, in its place.
func (p *Proc) enter() error {
	if p.Space != nil {
		if err := p.Space.Enter(); err != nil {
			return err
		}
	}
	if len(p.Binds) == 0 {
		return nil
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("own mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("own mounts: %w", err)
	}
	for seen, real := range p.Binds {
		if err := os.MkdirAll(seen, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(real, seen, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("show %s as %s: %w", real, seen, err)
		}
	}
	return nil
}

// PID is the program's process id.
func (p *Proc) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Proc) Done() <-chan struct{} { return p.done }

// Signal sends a signal; an ended program is left alone.
func (p *Proc) Signal(sig os.Signal) error {
	err := p.cmd.Process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Kill ends the program at once, as a power cut would, and waits for it.
func (p *Proc) Kill() {
	p.cmd.Process.Kill() // only fails when it has ended
	<-p.done
}

// Stop asks the program to end and kills it when it takes longer than grace.
func (p *Proc) Stop(grace time.Duration) {
	if err := p.Signal(syscall.SIGTERM); err == nil {
		select {
		case <-p.done:
			return
		case <-time.After(grace):
		}
	}
	p.Kill()
}

// WaitLine waits until this run's output contains text. The program ending first
// is an error that quotes the end of its log.
func (p *Proc) WaitLine(ctx context.Context, text string) error {
	return p.wait(ctx, fmt.Sprintf("say %q", text), func() bool {
		out, err := p.Output()
		return err == nil && bytes.Contains(out, []byte(text))
	})
}

// WaitPort waits until something accepts connections at address in the program's
// namespace.
func (p *Proc) WaitPort(ctx context.Context, address string) error {
	return p.wait(ctx, "listen at "+address, func() bool {
		try, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		dial := new(net.Dialer).DialContext
		if p.Space != nil {
			dial = p.Space.DialContext
		}
		conn, err := dial(try, "tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// poll is how often a wait looks.
const poll = 50 * time.Millisecond

func (p *Proc) wait(ctx context.Context, what string, ready func() bool) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s to %s: %w; its log ends: %s", p.Name, what, ctx.Err(), p.Tail(5))
		case <-p.done:
			if ready() {
				return nil
			}
			return fmt.Errorf("wait for %s to %s: it ended (%v); its log ends: %s", p.Name, what, p.err, p.Tail(5))
		case <-tick.C:
		}
	}
	return nil
}

// Output is what this run has written so far.
func (p *Proc) Output() ([]byte, error) {
	f, err := os.Open(p.Log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Seek(p.from, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// Tail is the last n lines of this run's output, for errors.
func (p *Proc) Tail(n int) string {
	out, err := p.Output()
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// Run runs a short program inside space to its end and returns what it wrote. An
// error contains the output as well.
func Run(ctx context.Context, space *netns.Space, args ...string) ([]byte, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := space.Do(cmd.Run)
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out.Bytes()))
	}
	return out.Bytes(), err
}
