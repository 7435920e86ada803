// Package pcscd runs the real smart card daemon with vpcd's virtual reader for
// one test: in its own mount and network namespaces, so that it meets neither the
// machine's pcscd nor its ports, and with its socket where the test can reach it.
package pcscd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/proc"
)

const (
	driver = "/usr/lib/pcsc/drivers/serial/libifdvpcd.so"
	// ReaderName is how PC/SC names the first slot of the virtual reader.
	ReaderName = "Virtual PCD 00 00"
	// SecondReader is the name of the second.
	SecondReader = "Virtual PCD 00 01"
)

// Needs are what Start can't do without.
func Needs() []lab.Need {
	return []lab.Need{lab.Root, lab.Program("pcscd", "unshare", "ip"), func() error {
		if _, err := os.Stat(driver); err != nil {
			return errors.New("vsmartcard-vpcd: its driver is not installed; `make deps` does it")
		}
		return nil
	}}
}

// A Daemon is one pcscd. It can be killed and started again.
type Daemon struct {
	dir string // seen as /run/pcscd by pcscd

	mu  sync.Mutex
	cmd *exec.Cmd
	out bytes.Buffer
}

// Start runs a pcscd until the test ends.
func Start(tb testing.TB) *Daemon {
	tb.Helper()
	lab.Require(tb, Needs()...)
	dir, err := os.MkdirTemp("", "pcscd") // tb.TempDir can be too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	d := &Daemon{dir: dir}
	tb.Cleanup(func() {
		d.Kill()
		os.RemoveAll(dir)
		if tb.Failed() {
			tb.Logf("pcscd said:\n%s", d.out.String())
		}
	})
	conf := fmt.Sprintf("FRIENDLYNAME %q\nDEVICENAME /dev/null:0x%X\nLIBPATH %s\nCHANNELID 0x%X\n",
		"Virtual PCD", pivcard.VPCDPort, driver, pivcard.VPCDPort)
	if err := os.MkdirAll(filepath.Join(dir, "conf"), 0o755); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "conf", "vpcd"), []byte(conf), 0o644); err != nil {
		tb.Fatal(err)
	}
	if err := d.Restart(); err != nil {
		tb.Fatal(err)
	}
	return d
}

// script makes the namespaces' insides and becomes pcscd. /run is fresh there, so
// nothing of this machine's is seen or touched.
const script = `set -e
mount -t tmpfs tmpfs /run
mkdir /run/pcscd
mount --bind "$1" /run/pcscd
ip link set lo up
exec pcscd -f -c "$1/conf"`

// Restart kills pcscd if it runs, starts it and waits for its socket.
func (d *Daemon) Restart() error {
	d.Kill()
	cmd := exec.Command("unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", script, "sh", d.dir)
	cmd.Stdout, cmd.Stderr = &d.out, &d.out
	if err := proc.Bound(cmd); err != nil {
		return fmt.Errorf("start pcscd: %w", err)
	}
	d.mu.Lock()
	d.cmd = cmd
	d.mu.Unlock()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("unix", d.Socket()); err == nil {
			return c.Close()
		}
	}
	d.Kill()
	return errors.New("start pcscd: its socket did not appear in 30 s")
}

// Kill ends pcscd with SIGKILL and leaves its socket file, as a crash does.
func (d *Daemon) Kill() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cmd != nil {
		_ = d.cmd.Process.Kill() // it may be gone by itself
		_ = d.cmd.Wait()
		d.cmd = nil
	}
}

// Socket is the daemon's socket, for PCSCLITE_CSOCK_NAME.
func (d *Daemon) Socket() string { return filepath.Join(d.dir, "pcscd.comm") }

// Env is the environment of a program that should use this daemon.
func (d *Daemon) Env() []string {
	return append(os.Environ(), "PCSCLITE_CSOCK_NAME="+d.Socket())
}

// Reader returns the dialer for one of the two virtual slots, 0 or 1.
func (d *Daemon) Reader(n int) pivcard.Dialer {
	return func(ctx context.Context) (net.Conn, error) {
		d.mu.Lock()
		cmd := d.cmd
		d.mu.Unlock()
		if cmd == nil {
			return nil, errors.New("dial vpcd: pcscd is not running")
		}
		return dialInside(ctx, cmd.Process.Pid, fmt.Sprintf("127.0.0.1:%d", pivcard.VPCDPort+n))
	}
}

// Plug connects slot to reader n until the test ends.
func (d *Daemon) Plug(tb testing.TB, slot *pivcard.Slot, n int) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		pivcard.VPCD(ctx, slot, d.Reader(n))
	}()
	tb.Cleanup(func() { cancel(); <-done })
}

// dialInside connects from inside the network namespace of process pid. The
// thread that enters it is never given back to the scheduler.
func dialInside(ctx context.Context, pid int, addr string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	got := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // and not unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromPid(pid)
		if err == nil {
			err = netns.Set(ns)
			ns.Close()
		}
		if err != nil {
			got <- result{err: err}
			return
		}
		// An IP literal, so that no other thread does a part of it.
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp4", addr)
		got <- result{conn, err}
	}()
	r := <-got
	return r.conn, r.err
}

// Run runs a program against this daemon and returns what it printed.
func (d *Daemon) Run(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = d.Env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return string(out), err
}
