package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab/netns"
)

// echo answers what it hears at addr in s, over TCP and UDP, until the test ends.
func (w *world) echo(s *netns.Space, addr string) {
	w.t.Helper()
	var l net.Listener
	var p net.PacketConn
	w.must(s.Do(func() (err error) {
		if l, err = net.Listen("tcp", addr); err == nil {
			p, err = net.ListenPacket("udp", addr)
		}
		return err
	}))
	w.t.Cleanup(func() { l.Close(); p.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c) // until the caller hangs up
			}()
		}
	}()
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := p.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			_, _ = p.WriteTo(buf[:n], from) // a caller that is gone
		}
	}()
}

// A talk is one connection over which something is said and answered all the time.
type talk struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
	count   int
	err     error
}

func (w *world) talk(s *netns.Space, network, addr string, every time.Duration) *talk {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), ample)
	defer cancel()
	c, err := s.DialContext(ctx, network, addr)
	w.must(err)
	w.t.Cleanup(func() { c.Close() })
	k := &talk{last: time.Now()}
	go func() {
		for range time.Tick(every) {
			if _, err := c.Write([]byte{1}); err != nil && network == "tcp4" {
				k.broke(err)
				return
			}
		}
	}()
	go func() {
		buf := make([]byte, 1500)
		for {
			if _, err := c.Read(buf); err != nil && network == "tcp4" || errors.Is(err, net.ErrClosed) {
				k.broke(err)
				return
			} else if err == nil {
				k.heard()
			}
		}
	}()
	return k
}

func (k *talk) heard() {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	k.longest = max(k.longest, now.Sub(k.last))
	k.last = now
	k.count++
}

func (k *talk) broke(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.err = err
	}
}

// hole is the longest silence so far.
func (k *talk) hole() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(k.longest, time.Since(k.last))
}

// ended waits for the connection to break and says how.
func (k *talk) ended() error {
	for end := time.Now().Add(ample); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		k.mu.Lock()
		err := k.err
		k.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// settled waits for the first answers and forgets how long they took.
func (k *talk) settled(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(ample); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		k.mu.Lock()
		n := k.count
		k.longest = 0
		k.mu.Unlock()
		if n > 2 {
			return
		}
	}
	t.Fatalf("no answer: %v", k.err)
}

// goesOn waits for what is said from now on to be answered, or for the connection to
// break.
func (k *talk) goesOn() error {
	k.mu.Lock()
	before := k.count
	k.mu.Unlock()
	for end := time.Now().Add(ample); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		k.mu.Lock()
		count, err := k.count, k.err
		k.mu.Unlock()
		if err != nil || count > before+2 {
			return err
		}
	}
	return errors.New("nothing is answered")
}

func (k *talk) alive(t testing.TB, what string) {
	t.Helper()
	if err := k.goesOn(); err != nil {
		t.Errorf("connection %s: %v", what, err)
	}
}

// reach says whether a TCP connection succeeds and carries an answer in time.
func reach(from *netns.Space, to string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	c, err := from.DialContext(ctx, "tcp", to)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(within))
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 1))
	return err
}

const (
	// silence is a long time for a packet between two namespaces.
	silence = 700 * time.Millisecond
	// answer is how long a busy machine may take with one that is expected.
	answer = 20 * time.Second
)

// udp says whether a datagram is answered in time.
func udp(from *netns.Space, to string, within time.Duration) bool {
	c, err := from.DialContext(context.Background(), "udp", to)
	if err != nil {
		return false
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(within))
	_, _ = c.Write([]byte("x"))
	_, err = c.Read(make([]byte, 1))
	return err == nil
}

// silent says whether an error is that of a packet nobody answered.
func silent(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
