package ctnl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"clinicgate/failoverd/flowsync/flow"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// box makes a namespace whose kernel tracks connections.
func box(t *testing.T) *netns.Space {
	t.Helper()
	lab.Require(t, lab.Root, lab.Program("iptables", "conntrack"))
	s, err := netns.New(fmt.Sprintf("cg-ct%d", os.Getpid()))
	must(t, err)
	t.Cleanup(func() { s.Close() })
	run(t, s, "iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP")
	return s
}

func run(t *testing.T, s *netns.Space, args ...string) string {
	t.Helper()
	out, err := proc.Run(context.Background(), s, args...)
	must(t, err)
	return string(out)
}

func list(t *testing.T, s *netns.Space) map[flow.Key]flow.Flow {
	t.Helper()
	all := map[flow.Key]flow.Flow{}
	must(t, s.Do(func() error {
		return List(0xff0000, func(e Event) { all[e.Flow.Key] = e.Flow })
	}))
	return all
}

// What is put in place reads back the same, by us and by conntrack(8): with NAT.
func TestNATIsRestored(t *testing.T) {
	s := box(t)
	f, dnat := natted(), natted()
	dnat.Src.Port, dnat.Reply = 40001, flow.Tuple{Src: end("10.9.9.9:8443"), Dst: end("10.20.0.50:40001")}
	must(t, s.Do(func() error {
		tab, err := Open()
		if err != nil {
			return err
		}
		defer tab.Close()
		must(t, tab.Create(f), tab.Create(dnat))
		if err := tab.Create(f); !errors.Is(err, ErrExists) {
			t.Errorf("created twice: %v", err)
		}
		return nil
	}))
	got := list(t, s)
	for _, want := range []flow.Flow{f, dnat} {
		g := got[want.Key]
		if want.Timeout-g.Timeout > 5 {
			t.Errorf("timeout %d, want about %d", g.Timeout, want.Timeout)
		}
		g.Timeout = want.Timeout
		if g != want {
			t.Errorf("got %#v\nwant %#v", g, want)
		}
	}
	text := run(t, s, "conntrack", "-L", "--src-nat")
	if !strings.Contains(text, "dst=198.51.100.9 sport=443 dport=1024 [ASSURED] mark=131072") {
		t.Errorf("conntrack -L --src-nat: %s", text)
	}
	if text := run(t, s, "conntrack", "-L", "--dst-nat"); !strings.Contains(text, "src=10.9.9.9 dst=10.20.0.50 sport=8443") {
		t.Errorf("conntrack -L --dst-nat: %s", text)
	}
}

// Events tell each step of an entry's life.
func TestEvents(t *testing.T) {
	s := box(t)
	var src *Source
	must(t, s.Do(func() (err error) {
		src, err = Listen(0xff0000, 1<<20)
		return err
	}))
	defer src.Close()
	f := natted()
	closing := f
	closing.State, closing.Timeout = flow.FinWait, 120
	must(t, s.Do(func() error {
		tab, err := Open()
		if err != nil {
			return err
		}
		defer tab.Close()
		return errors.Join(tab.Create(f), tab.Update(closing), tab.Delete(f.Key), tab.Delete(f.Key))
	}))
	var seen []string
	for len(seen) < 3 {
		must(t, src.Next(func(e Event) {
			seen = append(seen, fmt.Sprint(e.Flow.Key, " ", e.Flow.State, " ", e.Gone))
		}))
	}
	const who = "tcp 10.20.0.50:40000 > 192.0.2.10:443 "
	if seen[0] != who+"3 false" || seen[1] != who+"4 false" || !strings.HasSuffix(seen[2], "true") {
		t.Errorf("events: %q", seen)
	}
	if n := len(list(t, s)); n != 0 {
		t.Errorf("%d entries left", n)
	}
}

// A listener that is too slow is told so.
func TestOverrun(t *testing.T) {
	s := box(t)
	var src *Source
	must(t, s.Do(func() (err error) {
		src, err = Listen(0, 4096)
		return err
	}))
	defer src.Close()
	must(t, s.Do(func() error {
		tab, err := Open()
		if err != nil {
			return err
		}
		defer tab.Close()
		f := natted()
		for range 200 {
			f.Src.Port++
			f.Reply.Dst.Port++
			must(t, tab.Create(f))
		}
		return nil
	}))
	seen := 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); {
		err := src.Next(func(Event) { seen++ })
		if errors.Is(err, ErrOverrun) {
			if seen >= 200 {
				t.Errorf("all %d events were seen: nothing was dropped", seen)
			}
			return
		}
		must(t, err)
	}
	t.Error("never heard of the overrun")
}

// Two kinds of address, and a mark of others that stays behind.
func TestIPv6(t *testing.T) {
	s := box(t)
	k := flow.Tuple{Src: flow.EndOf(netip.MustParseAddrPort("[fd00::50]:5000")), Dst: flow.EndOf(netip.MustParseAddrPort("[2001:db8::1]:53"))}
	f := flow.Flow{Key: flow.Key{Proto: flow.UDP, Tuple: k}, Reply: k.Inverse(), Status: flow.SeenReply | flow.Confirmed, Timeout: 90}
	must(t, s.Do(func() error {
		tab, err := Open()
		if err != nil {
			return err
		}
		defer tab.Close()
		return tab.Create(f)
	}))
	if got, ok := list(t, s)[f.Key]; !ok || got.Reply != f.Reply {
		t.Errorf("got %+v, %v", got, ok)
	}
}
