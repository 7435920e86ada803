package beat

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"testing"
	"time"
)

func key(t testing.TB, first byte) []byte {
	k, err := Key([32]byte{first})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var sample = Message{From: 7, To: 9, Seq: 3, Groups: []Group{
	{VRID: 20, Role: Master, Priority: 150, Self: netip.MustParseAddr("10.20.0.2"), Heard: 12 * time.Millisecond},
	{VRID: 20, Six: true, Role: Backup, Priority: 90, Self: netip.MustParseAddr("fe80::2"), Heard: Never, Asks: true},
	{VRID: 21},
}}

func TestRoundTrip(t *testing.T) {
	b := Seal(key(t, 1), sample)
	got, err := Open(key(t, 1), b)
	if err != nil || !reflect.DeepEqual(got, sample) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := Open(key(t, 2), b); !errors.Is(err, ErrKey) {
		t.Errorf("with another key: %v", err)
	}
	for i := range b {
		c := bytes.Clone(b)
		c[i] ^= 1
		if _, err := Open(key(t, 1), c); err == nil {
			t.Errorf("byte %d changed: accepted", i)
		}
	}
	for i := range len(b) {
		if _, err := Open(key(t, 1), b[:i]); err == nil {
			t.Errorf("cut to %d: accepted", i)
		}
	}
}

// More groups than fit are left out, and a time ago is never negative.
func TestBounds(t *testing.T) {
	m := Message{Groups: make([]Group, MaxGroups+5)}
	m.Groups[0].Heard = -time.Second
	b := Seal(key(t, 1), m)
	got, err := Open(key(t, 1), b)
	if err != nil || len(got.Groups) != MaxGroups || got.Groups[0].Heard != 0 || len(b) != MaxSize {
		t.Errorf("%d groups in %d bytes, %v", len(got.Groups), len(b), err)
	}
}

// Two runs find each other; what was recorded, reflected or repeated is no news.
func TestSession(t *testing.T) {
	a, b := &Session{Own: 1}, &Session{Own: 2}
	hello := a.Next(nil)
	if err := b.Accept(hello); !errors.Is(err, ErrStale) {
		t.Errorf("a does not know b yet: %v", err)
	}
	answer := b.Next(nil)
	if err := a.Accept(answer); err != nil {
		t.Errorf("b answered a: %v", err)
	}
	good := a.Next(nil)
	if err := b.Accept(good); err != nil {
		t.Errorf("a answered b: %v", err)
	}
	for name, c := range map[string]struct {
		m    Message
		want error
	}{"again": {good, ErrReplayed}, "older": {hello, ErrStale}, "own": {b.Next(nil), ErrReflected}} {
		if err := b.Accept(c.m); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
	// b restarts: all that was recorded is for another run.
	again := &Session{Own: 3}
	for _, m := range []Message{hello, good, a.Next(nil)} {
		if err := again.Accept(m); !errors.Is(err, ErrStale) {
			t.Errorf("recorded %+v: %v", m, err)
		}
	}
	if err := a.Accept(again.Next(nil)); err != nil {
		t.Errorf("b's new run answers a: %v", err)
	}
	if err := again.Accept(a.Next(nil)); err != nil {
		t.Errorf("a answers b's new run: %v", err)
	}
}

// What is accepted can be made again.
func FuzzOpen(f *testing.F) {
	k := key(f, 1)
	f.Add(Seal(k, sample)[:header+3*groupSize])
	f.Add(Seal(k, Message{})[:header])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Open(k, append(bytes.Clone(body), sum(k, body)...)) // an attacker with the key
		if err != nil {
			return
		}
		again, err := Open(k, Seal(k, m))
		if err != nil || !reflect.DeepEqual(again, m) {
			t.Fatalf("%+v became %+v, %v", m, again, err)
		}
	})
}
