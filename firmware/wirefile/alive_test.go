package wirefile

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAlive(t *testing.T) {
	if !Alive(os.Getpid()) || !Alive(1) || Alive(0) || Alive(-1) || Alive(1<<22+1) {
		t.Error("this process and the first live, no number and one too large don't")
	}
	other := exec.Command("sleep", "1000")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	pid := other.Process.Pid
	if !Alive(pid) {
		t.Error("a running process is taken for dead")
	}
	_ = other.Process.Kill()
	// Ended, but not yet waited for: WNOWAIT leaves the zombie where it is.
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if Alive(pid) {
		t.Error("a zombie is taken for alive")
	}
	_ = other.Wait()
	if Alive(pid) {
		t.Error("a process that is gone is taken for alive")
	}
}
