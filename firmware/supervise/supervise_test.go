package supervise

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/restart"
	"clinicgate/firmware/wire"
)

// The services under test are this test binary, told by argument what to be.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "be" {
		be(os.Args[2])
		os.Exit(0)
	}
	// Orphans of our services fall to us, as to PID 1.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func be(what string) {
	switch what {
	case "ready":
		c, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		fmt.Fprint(c, "STATUS=warming up\n")
		fmt.Fprint(c, "STATUS=serving\nREADY=1\n")
		select {}
	case "escape":
		escape()
		select {}
	case "crash":
		os.Exit(2)
	case "clean":
		time.Sleep(60 * time.Millisecond)
	case "status":
		status, _ := os.ReadFile("/proc/self/status")
		limits, _ := os.ReadFile("/proc/self/limits")
		oom, _ := os.ReadFile("/proc/self/oom_score_adj")
		attr, err := unix.SchedGetAttr(0, 0)
		if err == nil {
			fmt.Printf("FIFO: %v %d\n", attr.Policy == unix.SCHED_FIFO, attr.Priority)
		}
		fmt.Printf("%s%sOOM: %s%s\n", status, limits, oom, strings.Join(os.Environ(), "\n"))
		select {}
	case "stubborn":
		signal.Ignore(unix.SIGTERM)
		child := exec.Command("/proc/self/exe", "be", "stubborn-child")
		child.Stdout = os.Stdout
		if err := child.Start(); err != nil {
			fmt.Println(err)
		}
		fmt.Println("ignoring")
		select {}
	case "stubborn-child":
		signal.Ignore(unix.SIGTERM)
		fmt.Printf("child %d\n", os.Getpid())
		select {}
	case "orphans":
		for range 5 {
			child := exec.Command("/proc/self/exe", "be", "short")
			child.SysProcAttr = &unix.SysProcAttr{Setsid: true} // out of our group, too
			_ = child.Start()
		}
		os.Exit(0)
	case "short":
		time.Sleep(50 * time.Millisecond)
	default:
		select {}
	}
}

type world struct {
	*Supervisor
	t      *testing.T
	mu     sync.Mutex
	out    bytes.Buffer
	cancel context.CancelFunc
	done   chan struct{}
}

func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Write(p)
}

func (w *world) output() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.String()
}

// supervised runs specs, each the test binary being its Args, until the test ends.
func supervised(t *testing.T, specs ...Spec) *world {
	t.Helper()
	lab.Require(t, lab.Root)
	w := &world{t: t, done: make(chan struct{})}
	dir, err := os.MkdirTemp("", "supervise")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	for i := range specs {
		if specs[i].Path == "" {
			specs[i].Path = "/proc/self/exe"
		}
		specs[i].Args = append([]string{"be"}, specs[i].Args...)
	}
	w.Supervisor = New(Config{
		Dir:     dir,
		Files:   512,
		Policy:  restart.Policy{First: 50 * time.Millisecond, Most: 200 * time.Millisecond, Settled: time.Minute},
		Output:  func(string) io.Writer { return w },
		Changed: func() {},
		Log:     slog.New(slog.NewTextHandler(w, nil)),
	}, specs...)
	ctx, cancel := context.WithCancel(t.Context())
	w.cancel = cancel
	go func() { defer close(w.done); w.Run(ctx) }()
	t.Cleanup(w.stop)
	return w
}

func (w *world) stop() {
	w.cancel()
	select {
	case <-w.done:
	case <-time.After(20 * time.Second):
		w.t.Fatalf("the supervisor did not end\n%s", w.output())
	}
}

func (w *world) await(what string, ok func([]wire.Service) bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok(w.Services()) {
			return
		}
	}
	w.t.Fatalf("no %s: %+v\n%s", what, w.Services(), w.output())
}

func state(want string) func([]wire.Service) bool {
	return func(all []wire.Service) bool { return all[0].State == want }
}

func TestReady(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "flag")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(flag, old, old); err != nil {
		t.Fatal(err)
	}
	w := supervised(t,
		Spec{Name: "says", Args: []string{"ready"}, Notify: true},
		Spec{Name: "silent", Args: []string{"wait"}, Notify: true},
		Spec{Name: "file", Args: []string{"wait"}, ReadyFile: flag},
		Spec{Name: "plain", Args: []string{"wait"}},
	)
	w.await("ready services", func(all []wire.Service) bool {
		return all[0].State == wire.ServiceReady && all[3].State == wire.ServiceReady
	})
	if all := w.Services(); all[1].State != wire.ServiceStarting || all[2].State != wire.ServiceStarting {
		t.Errorf("a service that said nothing, or whose file is from an earlier run, is %+v", all)
	}
	now := time.Now()
	if err := os.Chtimes(flag, now, now); err != nil {
		t.Fatal(err)
	}
	w.await("ready file", func(all []wire.Service) bool { return all[2].State == wire.ServiceReady })
	for _, s := range w.Services() {
		if s.PID == 0 || s.RSS == 0 {
			t.Errorf("%s: pid %d, rss %d", s.Name, s.PID, s.RSS)
		}
	}
	w.stop()
	for _, s := range w.Services() {
		if s.State != wire.ServiceStopped || s.PID != 0 {
			t.Errorf("after the end: %+v", s)
		}
	}
}

func TestDeadServiceComesBackAlone(t *testing.T) {
	w := supervised(t,
		Spec{Name: "crashes", Args: []string{"crash"}},
		Spec{Name: "missing", Path: "/no/such/program"},
		Spec{Name: "unprepared", Args: []string{"wait"}, Prepare: func() error { return fmt.Errorf("no folder") }},
		Spec{Name: "clean", Args: []string{"clean"}},
		Spec{Name: "steady", Args: []string{"wait"}},
	)
	w.await("three restarts", func(all []wire.Service) bool {
		return all[0].Restarts >= 3 && all[1].Restarts >= 3 && all[2].Restarts >= 3 && all[3].Restarts >= 3
	})
	all := w.Services()
	for i, want := range []string{"exit status 2", "start /no/such/program: no such file or directory", "prepare: no folder", "exit status 0"} {
		if got := all[i].LastExit; got != want {
			t.Errorf("%s: last exit %q, want %q", all[i].Name, got, want)
		}
	}
	if all[4].Restarts != 0 || all[4].State != wire.ServiceReady {
		t.Errorf("the steady one: %+v", all[4])
	}
	if err := unix.Kill(all[4].PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.await("a new life", func(all []wire.Service) bool { return all[4].Crashes == 1 && all[4].State == wire.ServiceReady })
	if got := w.Services()[4].LastExit; got != "signal: killed" {
		t.Errorf("last exit %q, want signal: killed", got)
	}
}

func TestRights(t *testing.T) {
	w := supervised(t, Spec{
		Name: "limited", Args: []string{"status"}, UID: 64201, GID: 64202, Groups: []int{64203},
		Caps: []uintptr{unix.CAP_NET_RAW}, Env: []string{"LANG=C.UTF-8"}, OOM: 321, Notify: true, Realtime: 7,
	})
	t.Setenv("LEAKS", "no")
	w.await("report", func([]wire.Service) bool { return strings.Contains(w.output(), "LANG=C.UTF-8") })
	got := w.output()
	only := fmt.Sprintf("%016x", 1<<unix.CAP_NET_RAW)
	for _, want := range []string{
		"Uid:\t64201\t64201\t64201\t64201\n", "Gid:\t64202\t64202\t64202\t64202\n", "Groups:\t64203 \n",
		"CapInh:\t" + only, "CapPrm:\t" + only, "CapEff:\t" + only, "CapBnd:\t" + only, "CapAmb:\t" + only,
		"NoNewPrivs:\t1\n",
		"Max open files            512                  512 ",
		"Max core file size        0                    0 ",
		"OOM: 321\n", "FIFO: true 7\n",
		"NOTIFY_SOCKET=", "PATH=/usr/sbin:/usr/bin:/sbin:/bin\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in what the service sees of itself", want)
		}
	}
	if strings.Contains(got, "LEAKS") {
		t.Error("our environment leaks into the service")
	}
	if t.Failed() {
		t.Log(got)
	}
}

func TestStubbornIsKilledWithItsChildren(t *testing.T) {
	w := supervised(t, Spec{Name: "stubborn", Args: []string{"stubborn"}, Grace: 100 * time.Millisecond})
	var child int
	w.await("child", func([]wire.Service) bool {
		i := strings.Index(w.output(), "child ")
		return i >= 0 && strings.Contains(w.output(), "ignoring") && scan(w.output()[i:], &child)
	})
	w.stop()
	if got := w.Services()[0]; got.State != wire.ServiceStopped || got.LastExit != "signal: killed" {
		t.Errorf("got %+v: want how it ended, also at the end", got)
	}
	var status unix.WaitStatus // as PID 1 would: it was killed, so it ends
	if pid, err := unix.Wait4(child, &status, 0, nil); err == nil && (pid != child || status.Signal() != unix.SIGKILL) {
		t.Errorf("the service's child: %d, %v", pid, status)
	}
	if !strings.Contains(w.output(), "ignores SIGTERM") {
		t.Errorf("the log is silent about the kill:\n%s", w.output())
	}
}

func scan(s string, pid *int) bool {
	n, err := fmt.Sscanf(s, "child %d\n", pid)
	return err == nil && n == 1
}

func TestOrphansAreReaped(t *testing.T) {
	w := supervised(t, Spec{Name: "orphans", Args: []string{"orphans"}})
	w.await("restarts", func(all []wire.Service) bool { return all[0].Restarts >= 2 })
	w.stop()
	time.Sleep(150 * time.Millisecond) // the last orphans end
	w.sweep()
	var status unix.WaitStatus
	if pid, err := unix.Wait4(-1, &status, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: pid %d, %v", pid, err)
	}
}

func TestRestartOnRequest(t *testing.T) {
	w := supervised(t, Spec{Name: "reader", Args: []string{"wait"}})
	w.await("start", state(wire.ServiceReady))
	first := w.Services()[0].PID
	w.Restart("nobody", "no such service")
	w.Restart("reader", "a card reader appeared")
	w.await("another life", func(all []wire.Service) bool {
		return all[0].State == wire.ServiceReady && all[0].PID != first
	})
	if got := w.Services()[0]; got.Restarts != 1 || got.Crashes != 0 || got.LastExit != "signal: terminated" {
		t.Errorf("got %+v", got)
	}
}

func TestReadyMessage(t *testing.T) {
	for message, want := range map[string]bool{
		"READY=1": true, "STATUS=x\nREADY=1\n": true, "READY=0": false, "XREADY=1": false, "": false, "STATUS=READY=1": false,
	} {
		if got := ready(message); got != want {
			t.Errorf("%q: got %v, want %v", message, got, want)
		}
	}
}
