package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// guardPID finds the node's guard: a child of failoverd.
func (n *node) guardPID() int {
	n.c.t.Helper()
	var pids []int
	n.c.eventually("there is a guard", func() bool {
		pids = n.children()
		return len(pids) > 0
	})
	return pids[0]
}

// children are the processes that the node's program has started.
func (n *node) children() (pids []int) {
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", n.proc.PID()))
	for _, list := range lists {
		b, _ := os.ReadFile(list)
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// killGuard stops failoverd first, so that it can't start another.
func (n *node) killGuard() {
	pid := n.guardPID()
	n.c.check(n.proc.Signal(syscall.SIGSTOP), syscall.Kill(pid, syscall.SIGKILL))
}

// kill -9 of the master alone: its kernel must not answer beside the new master.
func TestKilledMaster(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a, b := c.node("a", "10.20.0.2/24", 150), c.node("b", "10.20.0.3/24", 100)
	a.is(wire.RoleMaster)
	b.is(wire.RoleBackup)
	a.guardPID()
	c.check(a.proc.Signal(syscall.SIGKILL))
	<-a.proc.Done()
	killed := time.Now()
	c.eventually("the dead program's address is gone", func() bool { return !a.has() })
	t.Logf("gone %v after the kill", time.Since(killed).Round(time.Millisecond))
	b.is(wire.RoleMaster)
	c.eventually("b is the owner", func() bool { return c.owner() == c.mac(b.space) })
	if a.has() {
		t.Error("a has the address")
	}
}

// A frozen master loses the address to its guard before the other has it, and does
// not take it back from a box that is master now.
func TestFrozenMaster(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 150)
	a.is(wire.RoleMaster)
	b := c.node("b", "10.20.0.3/24", 200)
	b.is(wire.RoleMaster)
	c.eventually("a follows b", func() bool { return strings.Contains(a.group().Reason, "10.20.0.3 is master") })
	b.guardPID()
	c.check(b.proc.Signal(syscall.SIGSTOP))
	frozen := time.Now()
	c.eventually("the frozen program's address is gone", func() bool { return !b.has() })
	t.Logf("gone %v after the freeze", time.Since(frozen).Round(time.Millisecond))
	a.is(wire.RoleMaster)
	c.eventually("a is the owner", func() bool { return c.owner() == c.mac(a.space) })
	if b.has() {
		t.Error("b has the address")
	}
	c.check(b.proc.Signal(syscall.SIGCONT))
	c.eventually("a yields to the better box", func() bool { return a.group().Role == wire.RoleBackup && b.has() && !a.has() })
	c.eventually("b is the owner", func() bool { return c.owner() == c.mac(b.space) })
}

// The guard dies: there is another, which knows what is held.
func TestGuardReplaced(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 100)
	a.is(wire.RoleMaster)
	first := a.guardPID()
	c.check(syscall.Kill(first, syscall.SIGKILL))
	c.eventually("another guard", func() bool { return a.guardPID() != first })
	if !a.has() {
		t.Error("the address went with the guard")
	}
	time.Sleep(time.Second) // ten advertisements: it was told
	c.check(a.proc.Signal(syscall.SIGKILL))
	c.eventually("the second guard takes the address off", func() bool { return !a.has() })
}

// Both are dead: the kernel's lease ends, though it was renewed before for longer
// than it lasts.
func TestLeaseEnds(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	a := c.node("a", "10.20.0.2/24", 100)
	a.is(wire.RoleMaster)
	time.Sleep(5 * time.Second)
	c.eventually("it answers", c.reachable)
	if !a.has() {
		t.Fatal("the lease was not renewed")
	}
	a.killGuard()
	c.check(a.proc.Signal(syscall.SIGKILL))
	killed := time.Now()
	c.eventually("the kernel drops the address", func() bool { return !a.has() })
	t.Logf("gone %v after the kill", time.Since(killed).Round(100*time.Millisecond))
}
