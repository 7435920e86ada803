package proc

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Bound starts a program that is killed when this process ends, however it ends: a
// test that runs out of time does no cleanup. Waiting for it is the caller's. The
// kernel's death signal follows the thread that forked, so that thread is kept.
func Bound(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked
		err := cmd.Start()
		started <- err
		if err == nil {
			select {}
		}
	}()
	return <-started
}
