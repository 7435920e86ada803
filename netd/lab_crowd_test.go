package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// TestCrowd: ten thousand connections through the box cost netd nothing: neither time
// for its probes nor memory.
func TestCrowd(t *testing.T) {
	needs(t)
	w := up(t, programs(t), nil)
	w.must(w.hub.Addr("eth0", "192.0.2.3/24"))
	time.Sleep(2 * time.Second) // until it has settled
	const over = 3 * time.Second
	alone, rss := w.cpu(over), w.rss()
	const flows = 10_000
	w.must(w.pc.Do(func() error {
		for i := range flows {
			// Nobody answers on the hub's port; one packet is a connection all the same.
			c, err := net.DialUDP("udp4", &net.UDPAddr{Port: 20000 + i}, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 3), Port: 9})
			if err != nil {
				return err
			}
			_, err = c.Write([]byte("x"))
			c.Close()
			if err != nil {
				return err
			}
		}
		return nil
	}))
	count, err := strconv.Atoi(strings.TrimSpace(w.run(w.box, "conntrack", "-C")))
	if err != nil || count < flows*9/10 {
		t.Fatalf("%d connections are tracked, want %d: %v", count, flows, err)
	}
	time.Sleep(500 * time.Millisecond)
	crowded, rss2 := w.cpu(over), w.rss()
	t.Logf("netd took %v of %v alone, %v beside %d connections; memory %d and %d MB", alone, over, crowded, count, rss>>20, rss2>>20)
	// A tick of the kernel's clock is 10 ms, and the machine may be busy.
	if crowded > 2*alone+300*time.Millisecond {
		t.Errorf("%v of processor time beside %d connections, %v alone", crowded, count, alone)
	}
	if rss2 > rss+16<<20 {
		t.Errorf("memory grew from %d to %d MB", rss>>20, rss2>>20)
	}
	if n := w.await("state", func(*wire.Net) bool { return true }); w.states(n) != allUp {
		t.Errorf("got %s", w.states(n))
	}
}

// stat reads about netd's process; setpriv has become it.
func (w *world) stat(file string) []byte {
	w.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", w.netd.PID(), file))
	w.must(err)
	return b
}

// cpu is the processor time that netd takes in a while, in the kernel and outside.
func (w *world) cpu(over time.Duration) time.Duration {
	w.t.Helper()
	used := func() time.Duration {
		_, rest, _ := bytes.Cut(w.stat("stat"), []byte(") "))
		f := strings.Fields(string(rest)) // from field 3 on; 14 and 15 are utime and stime
		user, err := strconv.Atoi(f[11])
		w.must(err)
		system, err := strconv.Atoi(f[12])
		w.must(err)
		return time.Duration(user+system) * 10 * time.Millisecond
	}
	before := used()
	time.Sleep(over)
	return used() - before
}
