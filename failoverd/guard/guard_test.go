package guard

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var hold = Hold{
	Group: "lan", Index: 7, Device: "lan", For: 300 * time.Millisecond,
	Addresses: []netip.Prefix{netip.MustParsePrefix("10.20.0.1/24"), netip.MustParsePrefix("fe80::1/64")},
}

func newWatch() (*watch, *[]string, *bytes.Buffer) {
	var let []string
	var log bytes.Buffer
	return &watch{
		release: func(h Hold) error { let = append(let, h.Group); return nil },
		log:     &log, holds: map[string]Hold{}, ends: map[string]time.Time{},
	}, &let, &log
}

// A hold goes through the pipe whole, in pieces of any size.
func TestLine(t *testing.T) {
	for _, piece := range []int{1, 7, 1000} {
		w, _, log := newWatch()
		for b := []byte(hold.line() + hold.line()); len(b) > 0; {
			n := min(piece, len(b))
			w.take(b[:n], time.Time{})
			b = b[n:]
		}
		if !reflect.DeepEqual(w.holds, map[string]Hold{"lan": hold}) || log.Len() > 0 {
			t.Errorf("in pieces of %d: got %+v, log %q", piece, w.holds, log)
		}
	}
}

// A hold ends at its time unless it was renewed or freed.
func TestDeadlines(t *testing.T) {
	w, let, _ := newWatch()
	now := time.Now()
	other := hold
	other.Group, other.For = "wan", time.Second
	w.take([]byte(hold.line()+other.line()), now)
	if got := w.wait(now); got != 300 {
		t.Errorf("waits %d ms, want 300", got)
	}
	w.expire(now.Add(299 * time.Millisecond))
	w.take([]byte(hold.line()), now.Add(299*time.Millisecond))
	w.expire(now.Add(598 * time.Millisecond))
	if len(*let) != 0 {
		t.Fatalf("let go of %v too early", *let)
	}
	w.take([]byte("free wan\n"), now)
	w.expire(now.Add(10 * time.Second))
	if !reflect.DeepEqual(*let, []string{"lan"}) || w.wait(now) != -1 {
		t.Errorf("let go of %v, waits %d", *let, w.wait(now))
	}
}

func TestBadLines(t *testing.T) {
	for _, line := range []string{"", "hold", "hold lan 7 lan 1", "hold lan x lan 1 10.0.0.1/8", "hold lan 7 lan 1 10.0.0.1", "hold lan 7 lan -1 10.0.0.1/8", "hold lan 7 lan 99999999999999 10.0.0.1/8"} {
		w, _, log := newWatch()
		w.take([]byte(line+"\n"), time.Time{})
		if len(w.holds) != 0 || log.Len() == 0 {
			t.Errorf("%q: holds %v, log %q", line, w.holds, log)
		}
	}
	w, _, _ := newWatch()
	for range 10 {
		w.take(bytes.Repeat([]byte("x"), longest/2), time.Time{})
	}
	if len(w.rest) > 2*longest {
		t.Errorf("keeps %d bytes of a line that never ends", len(w.rest))
	}
}

// The pipe closes: all is let go, and the watch ends. One that can't be let go is
// told.
func TestPipeCloses(t *testing.T) {
	read, write, err := pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	var log strings.Builder
	let := make(chan string, 2)
	ended := make(chan int)
	go func() {
		ended <- Watch(int(read.Fd()), func(h Hold) error {
			let <- h.Group
			if h.Group == "wan" {
				return errors.New("no such device")
			}
			return nil
		}, &log)
	}()
	other := hold
	other.Group, other.For = "wan", time.Hour
	fmt.Fprint(write, hold.line(), other.line())
	if got := <-let; got != "lan" { // its time is over first
		t.Errorf("let go of %s", got)
	}
	write.Close()
	if code := <-ended; code != 0 || <-let != "wan" {
		t.Errorf("ended with %d", code)
	}
	if got := log.String(); !strings.Contains(got, "failoverd stands still: took [10.20.0.1/24 fe80::1/64] off lan") || !strings.Contains(got, "failoverd is dead: no such device") {
		t.Errorf("log %q", got)
	}
}

// A guard that reads nothing must not stop failoverd.
func TestStuckGuard(t *testing.T) {
	read, write, err := pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	g := &Guard{}
	if err := g.Keep(hold); !errors.Is(err, os.ErrClosed) {
		t.Errorf("without a guard: %v", err)
	}
	g.swap(write)
	defer g.swap(nil)
	for range 10000 {
		if err = g.Keep(hold); err != nil {
			break
		}
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Errorf("got %v, want EAGAIN", err)
	}
}

func FuzzTake(f *testing.F) {
	f.Add([]byte(hold.line()))
	f.Add([]byte("free lan\nhold a 1 b 2 ::1/128,10.0.0.1/8\nhold"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, _, _ := newWatch()
		w.take(b, time.Time{})
		if len(w.holds) != len(w.ends) {
			t.Fatalf("%d holds, %d ends", len(w.holds), len(w.ends))
		}
	})
}
