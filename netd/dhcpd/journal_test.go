package dhcpd

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/netd/dhcpd/leases"
)

func some(i int) leases.Lease {
	return leases.Lease{Address: netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), ID: fmt.Sprint(i), Given: time.Unix(1.7e9, 0).UTC(), Time: time.Hour}
}

// A power cut after any byte of the file leaves the leases whose lines are whole,
// and what follows is kept all the same.
func TestJournalCut(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "leases")
	var now []leases.Lease
	j, _, _, err := openJournal(path, func() []leases.Lease { return now })
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		now = append(now, some(i))
		if err := j.keep(now[i]); err != nil {
			t.Fatal(err)
		}
	}
	j.close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		var have []leases.Lease
		j, got, torn, err := openJournal(path, func() []leases.Lease { return have })
		if err != nil || torn > 1 || len(got) > 4 || cut == len(whole) && (len(got) != 4 || torn != 0) {
			t.Fatalf("cut at %d: %d leases, %d torn, %v", cut, len(got), torn, err)
		}
		for i, l := range got {
			if l != now[i] {
				t.Fatalf("cut at %d: lease %d is %+v", cut, i, l)
			}
		}
		have = append(got, some(9))
		if err := j.keep(some(9)); err != nil {
			t.Fatal(err)
		}
		j.close()
		if _, after, torn, err := openJournal(path, nil); err != nil || torn != 0 || len(after) != len(got)+1 {
			t.Fatalf("cut at %d, and one kept since: %d leases, %d torn, %v", cut, len(after), torn, err)
		}
	}
}

// Renewals do not make the file grow without end.
func TestJournalBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leases")
	now := []leases.Lease{some(1)}
	j, _, _, err := openJournal(path, func() []leases.Lease { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	for range 2*slack + 10 {
		if err := j.keep(now[0]); err != nil {
			t.Fatal(err)
		}
	}
	if j.lines > slack+1 {
		t.Errorf("%d lines", j.lines)
	}
}

// A disk that refuses is tried again, whole.
func TestJournalRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	now := []leases.Lease{some(1), some(2)}
	j, _, _, err := openJournal(filepath.Join(dir, "leases"), func() []leases.Lease { return now })
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	if j.keep(now[0]) == nil {
		t.Fatal("kept in a folder that is not there")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := j.keep(now[1]); err != nil {
		t.Fatal(err)
	}
	if _, all, _, err := openJournal(j.path, nil); err != nil || len(all) != 2 {
		t.Errorf("got %v, %v; want both", all, err)
	}
}

func FuzzReplay(f *testing.F) {
	b, err := line(some(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(append(b, b[:10]...))
	f.Add([]byte("\n\n 00000000 {}\n00000000 \n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		all, torn := replay(data)
		if len(all)+torn > len(data) {
			t.Fatalf("%d leases and %d torn of %d bytes", len(all), torn, len(data))
		}
	})
}
