package supervise

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// reap collects every child that ends: services, and orphans that fell to us.
// SIGCHLDs fold into one, so each wakes a sweep.
func (s *Supervisor) reap(ctx context.Context) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	for {
		s.sweep()
		select {
		case <-ctx.Done():
			return
		case <-children:
		}
	}
}

func (s *Supervisor) sweep() {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		s.mu.Lock()
		r := s.running[pid]
		delete(s.running, pid)
		s.mu.Unlock()
		if r != nil {
			r.ended <- status
		}
	}
}

// killGroup signals a run's process group. An empty group is no error: then there
// is nothing left to signal.
func killGroup(pid int, sig unix.Signal) { _ = unix.Kill(-pid, sig) }

// exitText says how a run ended, as os/exec words it.
func exitText(s unix.WaitStatus) string {
	switch {
	case s.Exited():
		return fmt.Sprintf("exit status %d", s.ExitStatus())
	case s.CoreDump():
		return fmt.Sprintf("signal: %s (core dumped)", s.Signal())
	default:
		return fmt.Sprintf("signal: %s", s.Signal())
	}
}

// residentBytes is the memory a process has in RAM, 0 when it is gone.
func residentBytes(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
