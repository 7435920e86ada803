package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"clinicgate/board"
	"clinicgate/firmware/lab/proc"
)

// VM is a running machine. Its methods are safe for concurrent use, but only one
// goroutine should Expect at a time.
type VM struct {
	cfg     Config
	console *console
	qmp     *monitor
	pid     int
	ended   chan struct{} // closed when QEMU is gone
	err     error         // how; read after ended
	tpm     *exec.Cmd
	errors  *strings.Builder
}

// connectLimit is how long QEMU may take to open its sockets; the machines of a
// busy workstation are slow.
const connectLimit = 30 * time.Second

// Start puts power on the machine. It is killed when ctx ends, or when the
// process dies, whichever way.
func Start(ctx context.Context, cfg Config) (*VM, error) {
	if err := cfg.absolute(); err != nil {
		return nil, err
	}
	if err := cfg.prepare(); err != nil {
		return nil, err
	}
	vm := &VM{cfg: cfg, ended: make(chan struct{}), errors: &strings.Builder{}}
	if cfg.TPM {
		if err := vm.startTPM(); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command("qemu-system-x86_64", cfg.args()...)
	cmd.Dir = cfg.Dir
	cmd.Stderr = vm.errors
	if err := vm.run(cmd); err != nil {
		vm.stopTPM()
		return nil, err
	}
	context.AfterFunc(ctx, vm.Kill)
	if err := vm.connect(); err != nil {
		vm.Kill()
		return nil, fmt.Errorf("%w: %s", err, vm.errors)
	}
	return vm, nil
}

// run starts cmd on a thread that lives as long as it does: the kernel kills a
// child with PDEATHSIG when the thread that made it ends.
func (vm *VM) run(cmd *exec.Cmd) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := cmd.Start()
		if err == nil {
			vm.pid = cmd.Process.Pid
		}
		started <- err
		if err != nil {
			return
		}
		vm.err = cmd.Wait()
		vm.stopTPM()
		close(vm.ended)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start machine: %w", err)
	}
	return nil
}

// connect opens console and monitor; QEMU holds the guest until then.
func (vm *VM) connect() error {
	serial, err := vm.dial("serial.sock")
	if err != nil {
		return err
	}
	vm.console = listen(serial)
	control, err := vm.dial("qmp.sock")
	if err != nil {
		return err
	}
	if vm.qmp, err = greet(control); err != nil {
		return err
	}
	return vm.unplug()
}

// unplug takes the link from ports without a cable: what the machine sent there
// would wait for ever, and its kernel complain.
func (vm *VM) unplug() error {
	for _, p := range board.QEMUx86_64.Ports {
		if _, plugged := vm.cfg.Cables[p.Role]; plugged {
			continue
		}
		if err := vm.Link(p.Role, false); err != nil {
			return err
		}
	}
	return nil
}

// Kill pulls the power plug: nothing in the machine gets to run once more. It
// returns when QEMU is gone.
func (vm *VM) Kill() {
	select {
	case <-vm.ended:
		return
	default:
	}
	if p, err := os.FindProcess(vm.pid); err == nil {
		_ = p.Kill() // gone already: as wanted
	}
	<-vm.ended
}

// Wait waits until the machine has switched itself off.
func (vm *VM) Wait(limit time.Duration) error {
	select {
	case <-vm.ended:
		if vm.err != nil {
			return fmt.Errorf("machine: %w: %s", vm.err, vm.errors)
		}
		return nil
	case <-time.After(limit):
		return fmt.Errorf("machine still runs after %v\n%s", limit, vm.tail())
	}
}

// Running reports whether the machine has power.
func (vm *VM) Running() bool {
	select {
	case <-vm.ended:
		return false
	default:
		return true
	}
}

// Link plugs the cable of a port in or out.
func (vm *VM) Link(role string, up bool) error {
	return vm.Monitor("set_link", map[string]any{"name": "port-" + role, "up": up})
}

// PressPower presses the power button.
func (vm *VM) PressPower() error { return vm.Monitor("system_powerdown", nil) }

// HoldButton holds the button at the front of the board for so many milliseconds of
// the machine's own time, and returns at once.
func (vm *VM) HoldButton(ms int) error {
	return vm.Monitor("send-key", map[string]any{"keys": []map[string]string{{"type": "qcode", "data": "f12"}}, "hold-time": ms})
}

// CtrlAltDel asks the box for an orderly restart.
func (vm *VM) CtrlAltDel() error {
	key := func(k string) any { return map[string]any{"type": "qcode", "data": k} }
	return vm.Monitor("send-key", map[string]any{"keys": []any{key("ctrl"), key("alt"), key("delete")}})
}

// Reader takes the card reader out of its socket, or puts it back.
func (vm *VM) Reader(in bool) error {
	if !in {
		return vm.Monitor("device_del", map[string]any{"id": "reader"})
	}
	return vm.Monitor("device_add", map[string]any{"driver": "usb-ccid", "bus": "usb.0", "id": "reader"})
}

// dial connects to one of QEMU's sockets. The name is relative, for a socket's
// address is short.
func (vm *VM) dial(name string) (*conn, error) {
	path := filepath.Join(vm.cfg.Dir, name)
	for end := time.Now().Add(connectLimit); ; time.Sleep(20 * time.Millisecond) {
		c, err := dialUnix(path)
		if err == nil {
			return c, nil
		}
		select {
		case <-vm.ended:
			return nil, fmt.Errorf("machine ended at its start: %w: %s", errors.Join(vm.err), vm.errors)
		default:
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("connect to machine: %w", err)
		}
	}
}

// startTPM starts a software TPM, whose state stays in the machine's folder. It
// ends with the machine.
func (vm *VM) startTPM() error {
	state := filepath.Join(vm.cfg.Dir, "tpm")
	if err := os.MkdirAll(state, 0o755); err != nil {
		return fmt.Errorf("start TPM: %w", err)
	}
	vm.tpm = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+state, "--flags", "startup-clear",
		"--ctrl", "type=unixio,path="+filepath.Join(vm.cfg.Dir, "tpm.sock"), "--terminate")
	if err := proc.Bound(vm.tpm); err != nil {
		return fmt.Errorf("start TPM: %w", err)
	}
	for end := time.Now().Add(connectLimit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(vm.cfg.Dir, "tpm.sock")); err == nil {
			return nil
		}
	}
	vm.stopTPM()
	return errors.New("start TPM: it opened no socket")
}

func (vm *VM) stopTPM() {
	if vm.tpm != nil {
		_ = vm.tpm.Process.Kill()
		_ = vm.tpm.Wait()
	}
}
