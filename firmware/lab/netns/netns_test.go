package netns_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
)

// space makes a namespace named after the test's process.
func space(t *testing.T, what string) *netns.Space {
	t.Helper()
	s, err := netns.New(fmt.Sprintf("cg-nst%d-%s", os.Getpid(), what))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// serve accepts one connection at addr inside s and answers with its peer's address.
func serve(t *testing.T, s *netns.Space, addr string) {
	t.Helper()
	var l net.Listener
	must(t, s.Do(func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	}))
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
		fmt.Fprint(conn, host)
	}()
}

func TestRoutedPath(t *testing.T) {
	lab.Require(t, lab.Root)
	left, router, right := space(t, "left"), space(t, "router"), space(t, "right")
	must(t,
		netns.Veth(left, "eth0", router, "l"),
		netns.Veth(right, "eth0", router, "r"),
		left.Addr("eth0", "10.1.0.2/24"), router.Addr("l", "10.1.0.1/24"),
		right.Addr("eth0", "10.2.0.2/24"), router.Addr("r", "10.2.0.1/24"),
		left.Route("default", "10.1.0.1"), right.Route("10.1.0.0/24", "10.2.0.1"),
		router.Forward(),
	)
	serve(t, right, "10.2.0.2:80")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := left.DialContext(ctx, "tcp", "10.2.0.2:80")
	must(t, err)
	defer conn.Close()
	var got [64]byte
	n, _ := conn.Read(got[:])
	if string(got[:n]) != "10.1.0.2" {
		t.Errorf("the far side saw %q, want 10.1.0.2", got[:n])
	}
}

func TestBridge(t *testing.T) {
	lab.Require(t, lab.Root)
	sw, a, b := space(t, "sw"), space(t, "a"), space(t, "b")
	must(t,
		netns.Veth(sw, "p1", a, "eth0"), netns.Veth(sw, "p2", b, "eth0"),
		sw.Bridge("br0", "p1", "p2"),
		a.Addr("eth0", "10.3.0.1/24"), b.Addr("eth0", "10.3.0.2/24"),
	)
	serve(t, b, "10.3.0.2:80")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := a.DialContext(ctx, "tcp", "10.3.0.2:80")
	must(t, err)
	conn.Close()
}

func TestDialWantsAnAddress(t *testing.T) {
	lab.Require(t, lab.Root)
	s := space(t, "dial")
	if _, err := s.DialContext(context.Background(), "tcp", "localhost:80"); err == nil {
		t.Error("dialled a name")
	}
}

func TestNothingLeaks(t *testing.T) {
	lab.Require(t, lab.Root)
	before, err := net.Interfaces()
	must(t, err)
	s, err := netns.New(fmt.Sprintf("cg-nst%d-leak", os.Getpid()))
	must(t, err)
	var inside []net.Interface
	must(t, s.Do(func() (err error) {
		inside, err = net.Interfaces()
		return err
	}))
	if len(inside) != 1 || inside[0].Name != "lo" {
		t.Errorf("inside: %v, want lo alone", inside)
	}
	after, err := net.Interfaces()
	must(t, err)
	same := slices.EqualFunc(before, after, func(a, b net.Interface) bool { return a.Name == b.Name })
	if !same {
		t.Errorf("devices outside: before %v, after %v", before, after)
	}
	must(t, s.Close())
	left, err := netns.List(s.Name)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
	must(t, netns.Remove(s.Name)) // once more is fine
}

func TestProcesses(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("sleep"))
	s := space(t, "procs")
	cmd := exec.Command("sleep", "60")
	must(t, s.Do(cmd.Start))
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	if got, err := netns.Processes(s.Name); err != nil || !slices.Equal(got, []int{cmd.Process.Pid}) {
		t.Errorf("got %v, %v; want %d", got, err, cmd.Process.Pid)
	}
	if got, err := netns.Processes("cg-no-such"); err != nil || got != nil {
		t.Errorf("of no namespace: got %v, %v", got, err)
	}
}
