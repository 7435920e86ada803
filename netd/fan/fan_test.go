package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/netd/notice"
)

// A bench is a fan before a hub that sends back what it gets, to where it came from.
type bench struct {
	t    *testing.T
	fan  *fan
	at   netip.AddrPort // the fan's
	key  notice.Key
	seen chan netip.AddrPort // by the hub
}

func listen(t *testing.T) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, key: notice.Key{7}, seen: make(chan netip.AddrPort, 100)}
	hub, outer := listen(t), listen(t)
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := hub.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			b.seen <- from
			_, _ = hub.WriteToUDPAddrPort(buf[:n], from)
		}
	}()
	b.at = address(outer.LocalAddr().(*net.UDPAddr))
	b.fan = newFan(outer, address(hub.LocalAddr().(*net.UDPAddr)), []notice.Key{b.key}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.fan.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return b
}

func (b *bench) send(c *net.UDPConn, msg []byte) {
	b.t.Helper()
	if _, err := c.WriteToUDPAddrPort(msg, b.at); err != nil {
		b.t.Fatal(err)
	}
}

// hear returns what comes within a moment.
func (b *bench) hear(c *net.UDPConn, within time.Duration) []byte {
	b.t.Helper()
	buf := make([]byte, 2000)
	_ = c.SetReadDeadline(time.Now().Add(within))
	n, _, err := c.ReadFromUDPAddrPort(buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// join gives notice from c until it is believed.
func (b *bench) join(c *net.UDPConn, n notice.Notice) notice.Answer {
	b.t.Helper()
	var a notice.Answer
	for range 2 {
		n.Nonce = a.Nonce
		n.Seq++
		b.send(c, n.Marshal(b.key))
		var err error
		if a, err = notice.ParseAnswer(b.hear(c, 30*time.Second), b.key); err != nil || a.Seq != n.Seq {
			b.t.Fatalf("answer %+v, %v", a, err)
		}
	}
	return a
}

// sees returns where the hub saw the next datagram come from.
func (b *bench) sees() netip.AddrPort {
	b.t.Helper()
	select {
	case at := <-b.seen:
		return at
	case <-time.After(30 * time.Second):
		b.t.Fatal("the hub sees nothing")
	}
	return netip.AddrPort{}
}

// data is a datagram that looks like WireGuard's.
func data(size int) []byte {
	b := bytes.Repeat([]byte{9}, size)
	copy(b, []byte{4, 0, 0, 0})
	return b
}

const silence = 150 * time.Millisecond

// TestCopies: what the hub sends to a box comes by each of its paths, and the hub
// sees one client.
func TestCopies(t *testing.T) {
	b := newBench(t)
	one, two, third := listen(t), listen(t), listen(t)
	b.join(one, notice.Notice{All: true, Small: 2})
	b.join(two, notice.Notice{All: true, Small: 1})
	b.join(third, notice.Notice{Small: 1})
	count := func(c *net.UDPConn) (n int) {
		for b.hear(c, silence) != nil {
			n++
		}
		return n
	}
	b.send(one, data(1000))
	if n := [3]int{count(one), count(two), count(third)}; n != [3]int{1, 1, 0} {
		t.Errorf("a large datagram came %v times", n)
	}
	b.send(two, data(100))
	if n := [3]int{count(one), count(two), count(third)}; n != [3]int{2, 1, 1} {
		t.Errorf("a small datagram came %v times, want 2, 1, 1", n)
	}
	if x, y := b.sees(), b.sees(); x != y || !x.Addr().IsLoopback() {
		t.Errorf("the hub sees the box at %v and %v", x, y)
	}
	if a := b.join(one, notice.Notice{All: true, Small: 1, Seq: 10}); a.Datagrams != 1 || a.Bytes != 1000 {
		t.Errorf("by the first path came %+v, want one datagram of 1000", a)
	}
}

// TestNotBelieved: who has no key gets no answer, and who has not sent the nonce of
// its own address gets no copies.
func TestNotBelieved(t *testing.T) {
	b := newBench(t)
	one, other := listen(t), listen(t)
	a := b.join(one, notice.Notice{All: true, Small: 1})
	b.send(other, notice.Notice{Seq: 9, All: true}.Marshal(notice.Key{8}))
	forged := notice.Notice{Seq: 9, All: true}.Marshal(b.key)
	forged[len(forged)-1] ^= 1
	b.send(other, forged)
	if got := b.hear(other, silence); got != nil {
		t.Errorf("a stranger was answered: %x", got)
	}
	b.send(other, notice.Notice{Nonce: a.Nonce, Seq: 9, All: true, Small: 1}.Marshal(b.key)) // taken from one's
	if b.hear(other, 30*time.Second) == nil {
		t.Fatal("no answer to an authentic notice")
	}
	b.send(one, data(100))
	if b.hear(one, 30*time.Second) == nil {
		t.Error("the box was not answered")
	}
	if got := b.hear(other, silence); got != nil {
		t.Errorf("copies for an address that sent another's nonce: %x", got)
	}
}

// TestStrangers: a stock client has a socket of its own; noise has none.
func TestStrangers(t *testing.T) {
	b := newBench(t)
	one, two := listen(t), listen(t)
	b.send(one, []byte("GET / HTTP/1.0\r\n\r\n and more of the like"))
	b.send(one, data(200))
	b.send(two, data(300))
	if got := b.hear(one, 30*time.Second); len(got) != 200 {
		t.Errorf("got %d bytes", len(got))
	}
	if got := b.hear(two, 30*time.Second); len(got) != 300 {
		t.Errorf("got %d bytes", len(got))
	}
	if x, y := b.sees(), b.sees(); x.Addr() == y.Addr() {
		t.Errorf("two clients at one address, %v", x)
	}
}

func TestReadKeys(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := write("hub.key", "QkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkI=\n")
	const pub = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
	for text, want := range map[string]string{
		"[Interface]\nPrivateKey = no\n[Peer]\nPublicKey = " + pub + " # a clinic\nAllowedIPs = 10.0.0.0/8\n": "",
		pub + "\n\nPublicKey=hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n":                                  "",
		"PublicKey = short\n": "peers:1: want 44 characters",
		"PublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n": "peers:1: derive notice key",
		"nothing\n": "got no public key",
	} {
		keys, err := readKeys(key, write("peers", text))
		switch {
		case want == "" && (err != nil || len(keys) != strings.Count(text, "=\n")+strings.Count(text, "= #")):
			t.Errorf("%q: %d keys, %v", text, len(keys), err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	if _, err := readKeys(write("bad.key", "x"), key); err == nil || !strings.Contains(err.Error(), "read -key") {
		t.Errorf("got %v", err)
	}
}
