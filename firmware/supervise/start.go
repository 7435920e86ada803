package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// start brings a service to life. The lock is held until the child is known, so
// that the reaper can't meet it first.
func (s *Supervisor) start(svc *service) (*run, error) {
	if svc.Prepare != nil {
		if err := svc.Prepare(); err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
	}
	r := &run{began: time.Now(), ended: make(chan unix.WaitStatus, 1)}
	var err error
	if r.notify, err = listenNotify(s.cfg.Dir, svc); err != nil {
		return nil, err
	}
	files, ours, err := s.stdio(svc)
	if err != nil {
		r.notify.close()
		return nil, err
	}
	attr, cgroup, err := s.attributes(svc)
	if err != nil {
		r.notify.close()
		closeAll(files)
		closeAll([]*os.File{ours})
		return nil, err
	}
	s.mu.Lock()
	r.pid, err = forkLimited(svc, files, s.environ(svc, r), attr)
	if err == nil {
		s.running[r.pid] = r
	}
	s.mu.Unlock()
	closeAll(append(files, cgroup))
	if err != nil {
		r.notify.close()
		closeAll([]*os.File{ours})
		return nil, fmt.Errorf("start %s: %w", svc.Path, err)
	}
	if ours != nil {
		go drain(ours, s.cfg.Output(svc.Name))
	}
	return r, nil
}

// stdio opens what becomes fds 0 to 2 and, for logged output, our end of it.
func (s *Supervisor) stdio(svc *service) (files []*os.File, ours *os.File, err error) {
	if svc.TTY != "" {
		tty, err := os.OpenFile(svc.TTY, os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return nil, nil, fmt.Errorf("open terminal: %w", err)
		}
		return []*os.File{tty, tty, tty}, nil, nil
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		null.Close()
		return nil, nil, fmt.Errorf("make output pipe: %w", err)
	}
	return []*os.File{null, theirs, theirs}, ours, nil
}

// attributes describes the child to fork. A service with a terminal leads a
// session, as job control wants; others lead a process group.
func (s *Supervisor) attributes(svc *service) (*syscall.SysProcAttr, *os.File, error) {
	attr := &syscall.SysProcAttr{AmbientCaps: svc.Caps}
	groups := make([]uint32, len(svc.Groups))
	for i, g := range svc.Groups {
		groups[i] = uint32(g)
	}
	attr.Credential = &syscall.Credential{Uid: uint32(svc.UID), Gid: uint32(svc.GID), Groups: groups}
	if svc.TTY != "" {
		attr.Setsid, attr.Setctty = true, true
	} else {
		attr.Setpgid = true
	}
	if s.cfg.Cgroup == "" {
		return attr, nil, nil
	}
	dir := filepath.Join(s.cfg.Cgroup, svc.Name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, fmt.Errorf("make cgroup: %w", err)
	}
	if svc.Memory > 0 {
		if err := os.WriteFile(filepath.Join(dir, "memory.max"), []byte(strconv.FormatInt(svc.Memory, 10)), 0o644); err != nil {
			return nil, nil, fmt.Errorf("limit memory: %w", err)
		}
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("open cgroup: %w", err)
	}
	attr.UseCgroupFD, attr.CgroupFD = true, int(f.Fd())
	return attr, f, nil
}

// environ is the whole environment of a service: nothing of ours leaks in. The Go
// runtime is told of the memory limit a little below it, so that it collects
// before the kernel kills.
func (s *Supervisor) environ(svc *service, r *run) []string {
	env := append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/"}, svc.Env...)
	if r.notify != nil {
		env = append(env, "NOTIFY_SOCKET="+r.notify.path)
	}
	if svc.Memory > 0 {
		env = append(env, "GOMEMLIMIT="+strconv.FormatInt(svc.Memory/10*9, 10))
	}
	return env
}

// forkLimited starts the child from a thread that has given up, for good, what no
// service may have: new privileges through exec, and capabilities beyond its own.
// The thread is locked and never released, so it dies with its goroutine.
func forkLimited(svc *service, files []*os.File, env []string, attr *syscall.SysProcAttr) (int, error) {
	type result struct {
		pid int
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		if err := errors.Join(realtime(svc.Realtime), limitThread(svc.Caps), filterThread()); err != nil {
			done <- result{0, err}
			return
		}
		fds := make([]uintptr, len(files))
		for i, f := range files {
			fds[i] = f.Fd()
		}
		argv := append([]string{svc.Path}, svc.Args...)
		pid, err := syscall.ForkExec(svc.Path, argv, &syscall.ProcAttr{Dir: "/", Env: env, Files: fds, Sys: attr})
		if err == nil {
			// A child that is gone already needs none.
			_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), []byte(strconv.Itoa(svc.OOM)), 0o644)
		}
		done <- result{pid, err}
	}()
	r := <-done
	return r.pid, r.err
}

// realtime gives the calling thread, and so what it forks, its place before programs
// that share the processors.
func realtime(priority uint32) error {
	if priority == 0 {
		return nil
	}
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: priority}
	if err := unix.SchedSetAttr(0, &attr, 0); err != nil {
		return fmt.Errorf("set realtime priority %d: %w", priority, err)
	}
	return nil
}

// limitThread takes from the calling thread, and so from what it forks, the way
// to more rights than caps.
func limitThread(caps []uintptr) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	keep := map[uintptr]bool{}
	for _, c := range caps {
		keep[c] = true
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP; c++ {
		if keep[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && err != unix.EINVAL { // EINVAL: older kernel, no such capability
			return fmt.Errorf("drop capability %d: %w", c, err)
		}
	}
	return nil
}

// limitAll sets the limits that every service inherits from the supervisor: open
// files, and no core dumps, for a core holds keys and records. (Limits of one
// process can be set from outside only with CAP_SYS_RESOURCE and after its start.)
func limitAll(files uint64) error {
	if files > 0 {
		// Through syscall, which then stops restoring the limit it found at start.
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: files, Max: files}); err != nil {
			return fmt.Errorf("limit open files: %w", err)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}

// drain hands a service's output on, line by line, until all its writers are gone.
func drain(from *os.File, to io.Writer) {
	defer from.Close()
	lines := bufio.NewReaderSize(from, 16<<10)
	for {
		line, err := lines.ReadSlice('\n') // a longer line comes in pieces
		if len(line) > 0 {
			_, _ = to.Write(line) // the book keeps or drops it; the service never waits
		}
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		if f != nil {
			f.Close() // the same file twice is harmless
		}
	}
}
