package proc_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
)

func wait(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, spec proc.Spec) *proc.Proc {
	t.Helper()
	if spec.Log == "" {
		spec.Log = filepath.Join(t.TempDir(), spec.Name+".log")
	}
	p, err := proc.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func TestWaitLine(t *testing.T) {
	log := filepath.Join(t.TempDir(), "sh.log")
	if err := os.WriteFile(log, []byte("ready, said an earlier run\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, proc.Spec{Name: "sh", Log: log, Args: []string{"sh", "-c", "sleep 0.2; echo now ready; sleep 60"}})
	began := time.Now()
	if err := p.WaitLine(wait(t), "ready"); err != nil {
		t.Fatal(err)
	}
	if time.Since(began) < 150*time.Millisecond {
		t.Error("took the earlier run's line for its own")
	}
	p.Stop(5 * time.Second)
	select {
	case <-p.Done():
	default:
		t.Error("still running after Stop")
	}
}

func TestEarlyEndIsAnErrorWithTheLog(t *testing.T) {
	p := start(t, proc.Spec{Name: "sh", Args: []string{"sh", "-c", "echo no such luck; exit 3"}})
	err := p.WaitLine(wait(t), "ready")
	if err == nil || !strings.Contains(err.Error(), "no such luck") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
}

func TestStopKillsTheStubborn(t *testing.T) {
	p := start(t, proc.Spec{Name: "sh", Args: []string{"sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"}})
	if err := p.WaitLine(wait(t), "up"); err != nil {
		t.Fatal(err)
	}
	p.Stop(200 * time.Millisecond)
}

func TestBindsAreSeenByTheProgramAlone(t *testing.T) {
	lab.Require(t, lab.Root)
	real, seen := t.TempDir(), t.TempDir()
	p := start(t, proc.Spec{
		Name: "sh", Args: []string{"sh", "-c", "echo hello > " + seen + "/file; echo done"},
		Binds: map[string]string{seen: real},
	})
	if err := p.WaitLine(wait(t), "done"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(real, "file")); err != nil || string(got) != "hello\n" {
		t.Errorf("real folder: %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(seen, "file")); err == nil {
		t.Error("the file is seen outside")
	}
}

func TestRunsInsideTheNamespace(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("ip"))
	s, err := netns.New(fmt.Sprintf("cg-proct%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	out, err := proc.Run(wait(t), s, "ip", "-o", "link")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(out), "\n"); n != 1 {
		t.Errorf("%d devices inside, want lo alone:\n%s", n, out)
	}
	_, err = proc.Run(wait(t), s, "sh", "-c", "echo because; exit 1")
	if err == nil || !strings.Contains(err.Error(), "because") {
		t.Errorf("got %v, want the output in the error", err)
	}
}

// childEnv makes the test binary play a lab that starts a program and is killed.
const childEnv = "CLINICGATE_PROC_CHILD"

func TestMain(m *testing.M) {
	if log := os.Getenv(childEnv); log != "" {
		p, err := proc.Start(proc.Spec{Name: "sleep", Args: []string{"sleep", "60"}, Log: log})
		fmt.Println(p.PID(), err)
		select {}
	}
	os.Exit(m.Run())
}

func TestNothingOutlivesTheLab(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+filepath.Join(t.TempDir(), "sleep.log"))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var line [64]byte
	n, _ := out.Read(line[:])
	pid, err := strconv.Atoi(strings.Fields(string(line[:n]))[0])
	if err != nil {
		t.Fatal(err)
	}
	child.Process.Kill()
	child.Wait()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if gone(pid) {
			return
		}
		if time.Now().After(end) {
			syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("the program outlived its lab")
		}
	}
}

// gone says whether pid has ended; a zombie that nobody reaps has.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
