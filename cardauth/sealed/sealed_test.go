package sealed

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"errors"
	"testing"
	"time"
)

func seal(t testing.TB, p Public, info []byte, pin string) []byte {
	t.Helper()
	public, err := ecdh.P256().NewPublicKey(p.Key)
	if err != nil {
		t.Fatal(err)
	}
	to, err := hpke.NewDHKEMPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	box, err := hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), info, []byte(pin))
	if err != nil {
		t.Fatal(err)
	}
	return box
}

// A PIN opens with its key for two hours, for its workstation, whole, and else not.
func TestOpen(t *testing.T) {
	k, now := &Keys{}, time.Now()
	first, err := k.Public(now)
	if err != nil {
		t.Fatal(err)
	}
	info := Info("ws-1")
	box := seal(t, first, info, "123456")
	bent := bytes.Clone(box)
	bent[len(bent)-1] ^= 1
	open := func(id string, box, info []byte, at time.Time, want error) {
		t.Helper()
		pin, err := k.Open(id, box, info, at)
		if !errors.Is(err, want) || err == nil && string(pin) != "123456" || err != nil && pin != nil {
			t.Errorf("got %q, %v, want %v", pin, err, want)
		}
	}
	open(first.ID, box, info, now, nil)
	open(first.ID, box, Info("ws-2"), now, ErrBox)
	open(first.ID, bent, info, now, ErrBox)
	open(first.ID, box[:70], info, now, ErrBox)
	open(first.ID, nil, info, now, ErrBox)
	open(first.ID, make([]byte, 200), info, now, ErrBox)
	open("another", box, info, now, ErrKey)
	if again, _ := k.Public(now.Add(Life - 1)); again.ID != first.ID || again.Lasts != 1 {
		t.Errorf("got %+v", again)
	}
	second, err := k.Public(now.Add(Life))
	if err != nil || second.ID == first.ID || bytes.Equal(second.Key, first.Key) {
		t.Fatalf("after an hour the same key, %v", err)
	}
	open(first.ID, box, info, now.Add(2*Life-1), nil)
	open(first.ID, box, info, now.Add(2*Life), ErrKey)
	open(second.ID, box, info, now.Add(Life), ErrBox)
	if _, err := k.Public(now.Add(2 * Life)); err != nil {
		t.Fatal(err)
	}
	open(first.ID, box, info, now.Add(Life), ErrKey) // forgotten
}

func FuzzOpen(f *testing.F) {
	k, now := &Keys{}, time.Now()
	p, err := k.Public(now)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seal(f, p, nil, "123456"))
	f.Add(make([]byte, 65))
	f.Fuzz(func(t *testing.T, box []byte) {
		if _, err := k.Open(p.ID, box, Info("ws-1"), now); !errors.Is(err, ErrBox) {
			t.Fatalf("got %v", err)
		}
	})
}
