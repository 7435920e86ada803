package ctnl

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"clinicgate/failoverd/flowsync/flow"
	"clinicgate/firmware/lab/netns"
)

// numbered is the n-th of many connections.
func numbered(n int) flow.Flow {
	f := natted()
	f.Src = flow.EndOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 20, byte(n >> 14), 50}), uint16(20000+n&0x3fff)))
	f.Reply.Dst = flow.EndOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + n>>14)}), uint16(20000+n&0x3fff)))
	return f
}

func with(t testing.TB, s *netns.Space, do func(*Table) error) {
	t.Helper()
	err := s.Do(func() error {
		tab, err := Open()
		if err != nil {
			return err
		}
		return errors.Join(do(tab), tab.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A batch makes all entries but those that can't be made, and says which.
func TestCreateAll(t *testing.T) {
	s := box(t)
	with(t, s, func(tab *Table) error {
		if err := tab.Create(numbered(3)); err != nil {
			return err
		}
		bad := numbered(7)
		bad.Dst = end("[2001:db8::1]:443")
		fs := []flow.Flow{numbered(0), numbered(1), numbered(3), bad, numbered(4), numbered(0)}
		for i, err := range tab.CreateAll(fs) {
			exists, fails := i == 2 || i == 5, i == 2 || i == 3 || i == 5
			if (err != nil) != fails || errors.Is(err, ErrExists) != exists {
				t.Errorf("entry %d: %v", i, err)
			}
		}
		if err := tab.Create(numbered(1)); !errors.Is(err, ErrExists) {
			t.Errorf("after a batch, alone: %v", err)
		}
		for _, err := range tab.CreateAll(nil) {
			t.Errorf("of nothing: %v", err)
		}
		return tab.Delete(numbered(4).Key)
	})
	got := list(t, s)
	if len(got) != 3 {
		t.Errorf("%d entries, want 3", len(got))
	}
	for _, n := range []int{0, 1, 3} {
		if g := got[numbered(n).Key]; g.Reply != numbered(n).Reply {
			t.Errorf("entry %d: got %+v, want its NAT as %+v", n, g, numbered(n).Reply)
		}
	}
}

// BenchmarkCreate is entries one by one and in batches.
func BenchmarkCreate(b *testing.B) {
	const many = 20000
	for name, size := range map[string]int{"one by one": 1, "batches of 128": 128} {
		b.Run(name, func(b *testing.B) {
			s, err := netns.New("cg-ctbench")
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			began := time.Now()
			with(b, s, func(tab *Table) error {
				for n := 0; n < many; n += size {
					var fs []flow.Flow
					for i := range size {
						fs = append(fs, numbered(n+i))
					}
					if size == 1 {
						if err := tab.Create(fs[0]); err != nil {
							return err
						}
						continue
					}
					if err := errors.Join(tab.CreateAll(fs)...); err != nil {
						return err
					}
				}
				return nil
			})
			b.ReportMetric(many/time.Since(began).Seconds(), "entries/s")
		})
	}
}
