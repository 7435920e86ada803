package supervise

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/wire"
)

// escapes are ways out of a service. Those without a filter's word against them
// would fail otherwise, or succeed.
var escapes = map[string]func() error{
	"mount":            func() error { return unix.Mount("none", "/mnt", "tmpfs", 0, "") },
	"unmount":          func() error { return unix.Unmount("/nowhere", 0) },
	"chroot":           func() error { return unix.Chroot("/") },
	"new namespace":    func() error { return unix.Unshare(unix.CLONE_NEWNS) },
	"new user":         func() error { return unix.Unshare(unix.CLONE_NEWUSER) },
	"other namespace":  func() error { return unix.Setns(0, 0) },
	"cloned namespace": func() error { return call(unix.SYS_CLONE, unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), 0, 0) },
	"device node":      func() error { return unix.Mknod("/tmp/node", unix.S_IFCHR, 0) },
	"debugger":         func() error { return unix.PtraceAttach(os.Getppid()) },
	"memory":           func() error { return call(unix.SYS_PROCESS_VM_READV, uintptr(os.Getppid()), 0, 0) },
	"module":           func() error { return call(unix.SYS_INIT_MODULE, 0, 0, 0) },
	"module file":      func() error { return call(unix.SYS_FINIT_MODULE, 0, 0, 0) },
	"another kernel":   func() error { return call(unix.SYS_KEXEC_LOAD, 0, 0, 0) },
	"kernel program":   func() error { return call(unix.SYS_BPF, 0, 0, 0) },
	"counters":         func() error { return call(unix.SYS_PERF_EVENT_OPEN, 0, 0, 0) },
	"rings":            func() error { return call(unix.SYS_IO_URING_SETUP, 0, 0, 0) },
	"keys":             func() error { return call(unix.SYS_KEYCTL, 0, 0, 0) },
	"restart":          func() error { return call(unix.SYS_REBOOT, 0, 0, 0) },
	"kernel log":       func() error { return call(unix.SYS_SYSLOG, 2, 0, 0) },
	"file by handle":   func() error { return call(unix.SYS_OPEN_BY_HANDLE_AT, 0, 0, 0) },
}

func call(nr, a, b, c uintptr) error {
	if _, _, errno := unix.RawSyscall(nr, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// escape tries them all and says which were not refused outright.
func escape() {
	for name, try := range escapes {
		if err := try(); !errors.Is(err, unix.EPERM) {
			fmt.Printf("ESCAPED %s: %v\n", name, err)
		}
	}
	fmt.Println("tried", len(escapes))
}

// Even a service with every right there is can't leave: not what keeps it in are
// its user and its missing rights alone.
func TestEscape(t *testing.T) {
	lab.Require(t, lab.Root)
	for name, spec := range map[string]Spec{
		"a plain user":          {UID: 64201, GID: 64202},
		"root with every right": {Caps: []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_PTRACE, unix.CAP_SYS_MODULE, unix.CAP_SYS_BOOT, unix.CAP_SYS_CHROOT, unix.CAP_MKNOD, unix.CAP_SYSLOG, unix.CAP_DAC_READ_SEARCH}},
	} {
		t.Run(name, func(t *testing.T) {
			spec.Name, spec.Args = "escaping", []string{"escape"}
			w := supervised(t, spec)
			tried := fmt.Sprintf("tried %d", len(escapes))
			w.await("attempts", func([]wire.Service) bool { return strings.Contains(w.output(), tried) })
			if strings.Contains(w.output(), "ESCAPED") {
				t.Error(w.output())
			}
		})
	}
}
