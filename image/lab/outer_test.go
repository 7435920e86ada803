package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/image/lab/box"
	"clinicgate/image/lab/clinic"
)

// echoes answers each line on the internet with who it came from.
func echoes(t *testing.T, c *clinic.Clinic) {
	t.Helper()
	var l net.Listener
	if err := c.Inet.Do(func() (err error) {
		l, err = net.Listen("tcp", clinic.Internet+":9000")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for in := bufio.NewScanner(conn); in.Scan(); {
					fmt.Fprintln(conn, conn.RemoteAddr())
				}
			}()
		}
	}()
}

// A call is a workstation's connection to the internet, past the tunnel.
type call struct {
	net.Conn
	*bufio.Reader
}

func dial(t *testing.T, c *clinic.Clinic) *call {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := c.Workstation.DialContext(ctx, "tcp", clinic.Internet+":9000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &call{conn, bufio.NewReader(conn)}
}

// ask returns which address the internet sees.
func (c *call) ask(within time.Duration) (string, error) {
	c.SetDeadline(time.Now().Add(within))
	if _, err := fmt.Fprintln(c.Conn, "who"); err != nil {
		return "", err
	}
	line, err := c.ReadString('\n')
	from, _, _ := strings.Cut(line, ":")
	return from, err
}

// eventually waits for what the programs of two boxes come to in a while.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// A workstation's connection to the internet, past the tunnel and behind the pair's
// address at a provider, goes on when the box it passes through loses its power. One by
// the provider where each box has an address of its own ends.
func TestInternetOutlivesBox(t *testing.T) {
	root, err := clinic.Root()
	if err != nil {
		t.Fatal(err)
	}
	lab.Require(t, append(clinic.Needs(root), lab.Program("pcscd", "conntrack"))...)
	var out strings.Builder
	l, err := build(t.Context(), root, fmt.Sprintf("t%d", os.Getpid()), options{gateway: "namespace", pair: true, outer: true}, &out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("logs are in %s", l.clinic.Dir)
		} else {
			os.RemoveAll(l.clinic.Dir)
		}
	})
	c, a, b := l.clinic, l.boxes[0], l.boxes[1].(*box.Namespace)
	for _, boot := range l.boxes {
		if err := boot.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	word := func() *wire.Failover {
		f, err := wirefile.Read[wire.Failover](b.Run(), wire.FailoverFile)
		if err != nil {
			return &wire.Failover{}
		}
		return f
	}
	echoes(t, c)
	eventually(t, "b stands by, for both addresses", func() bool {
		f := word()
		return len(f.Groups) == 2 && f.Groups[0].Role == wire.RoleBackup && f.Groups[1].Role == wire.RoleBackup && f.Flows != nil && f.Flows.Told
	})
	var own *call
	eventually(t, "by provider A a connection is behind the box's own address", func() bool {
		own = dial(t, c)
		from, err := own.ask(5 * time.Second)
		return err == nil && strings.HasPrefix(from, "100.64.1.")
	})
	for n := range 2 {
		c.Cables[clinic.Cable(clinic.CableA, n)].Cut()
	}
	var shared *call
	eventually(t, "a connection is behind the pair's address", func() bool {
		shared = dial(t, c)
		from, err := shared.ask(5 * time.Second)
		return err == nil && from == clinic.Outer
	})
	eventually(t, "b holds it", func() bool { f := word().Flows; return f != nil && f.Held >= 1 })
	time.Sleep(time.Second) // for the last one to be among them
	began := time.Now()
	if err := a.CutPower(); err != nil {
		t.Fatal(err)
	}
	if from, err := shared.ask(20 * time.Second); err != nil || from != clinic.Outer {
		t.Errorf("after the power cut: got %q, %v; want it to go on from %s", from, err, clinic.Outer)
	}
	t.Logf("went on %v after the cut", time.Since(began).Round(time.Millisecond))
	eventually(t, "new ones are behind it as well", func() bool {
		from, err := dial(t, c).ask(5 * time.Second)
		return err == nil && from == clinic.Outer
	})
	c.Cables[clinic.Cable(clinic.CableA, 1)].Restore()
	if from, err := own.ask(3 * time.Second); err == nil {
		t.Errorf("behind the dead box's own address: goes on from %s; the test above shows nothing", from)
	}
}
