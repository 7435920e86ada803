package tpm

import (
	"bytes"
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"

	"clinicgate/firmware/lab/swtpm"
)

func exchange(t *testing.T, device io.ReadWriter, b byte, bound State) *Exchange {
	t.Helper()
	k, err := NewExchange(NewChip(device), salt(b), bound)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func state(t *testing.T, device io.ReadWriter, pcrs ...int) State {
	t.Helper()
	s, err := NewChip(device).ReadState(pcrs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// extend measures something into a register.
func extend(t *testing.T, device io.ReadWriter, pcr uint32, what string) {
	t.Helper()
	sum := sha256.Sum256([]byte(what))
	p := binary.BigEndian.AppendUint32(authorized(pcr, nil), 1)
	p = append(binary.BigEndian.AppendUint16(p, algSHA256), sum[:]...)
	if _, err := command(device, tagSessions, 0x0182, p); err != nil {
		t.Fatal(err)
	}
}

// What was sealed to the key opens in the state it is bound to, and in no other.
func TestExchange(t *testing.T) {
	device := swtpm.Start(t, t.TempDir())
	bound := state(t, device, 11, 7)
	if !slices.Equal(bound.PCRs, []int{7, 11}) {
		t.Fatalf("got registers %v", bound.PCRs)
	}
	k := exchange(t, device, 1, bound)
	other, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	want, err := other.ECDH(k.PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	for range 5 { // sessions are forgotten
		if got, err := k.ECDH(other.PublicKey()); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %x, %v, want %x", got, err, want)
		}
	}
	private, err := hpke.NewDHKEMPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	box, err := hpke.Seal(private.PublicKey(), hpke.HKDFSHA256(), hpke.AES256GCM(), nil, []byte("a domain's key"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), nil, box); err != nil || string(got) != "a domain's key" {
		t.Fatalf("got %q, %v", got, err)
	}
	again, another := exchange(t, device, 1, bound), exchange(t, device, 2, bound)
	if !again.public.Equal(k.public) || another.public.Equal(k.public) {
		t.Error("the salt and the state do not name the key")
	}
	again.Close() // a TPM has room for three
	another.Close()

	extend(t, device, 4, "something else")
	if _, err := k.ECDH(other.PublicKey()); err != nil {
		t.Errorf("a register that the key is not bound to: %v", err)
	}
	extend(t, device, 11, "another kernel")
	for range 5 {
		if _, err := k.ECDH(other.PublicKey()); !errors.Is(err, ErrState) {
			t.Errorf("another state: got %v, want %v", err, ErrState)
		}
	}
	again = exchange(t, device, 1, bound)
	if _, err := again.ECDH(other.PublicKey()); !errors.Is(err, ErrState) {
		t.Errorf("made again in another state: got %v, want %v", err, ErrState)
	}
	again.Close()
	now := state(t, device, 7, 11)
	if got := bound.Differ(now); !slices.Equal(got, []int{11}) {
		t.Errorf("got registers %v, want 11 alone", got)
	}
	fresh := exchange(t, device, 1, now)
	if _, err := fresh.ECDH(other.PublicKey()); err != nil || fresh.public.Equal(k.public) {
		t.Errorf("bound to the new state: %v; the same key: %v", err, fresh.public.Equal(k.public))
	}
}

func TestStateBounds(t *testing.T) {
	device := swtpm.Start(t, t.TempDir())
	for _, pcrs := range [][]int{nil, {-1}, {24}, {0, 1, 2, 3, 4, 5, 6, 7, 8}} {
		if _, err := NewChip(device).ReadState(pcrs); err == nil {
			t.Errorf("%v: read", pcrs)
		}
	}
	if _, err := NewExchange(NewChip(device), salt(1), State{}); err == nil {
		t.Error("a key bound to nothing")
	}
}

// The MAC is a function of its salt and the text, and is another TPM's not.
func TestMAC(t *testing.T) {
	sum := func(device io.ReadWriter, b byte, text string) [32]byte {
		t.Helper()
		m, err := NewMAC(NewChip(device), salt(b))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		s, err := m.Sum([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Sum(make([]byte, macMax+1)); err == nil {
			t.Error("took more than it can")
		}
		return s
	}
	device := swtpm.Start(t, t.TempDir())
	seen := map[[32]byte]bool{sum(device, 1, "a"): true, sum(device, 1, "b"): true, sum(device, 2, "a"): true, sum(swtpm.Start(t, t.TempDir()), 1, "a"): true}
	if len(seen) != 4 || !seen[sum(device, 1, "a")] {
		t.Errorf("got %d different sums, want 4, the first of them again", len(seen))
	}
}

// FuzzExchangeResponses: whatever a TPM answers, there is no panic.
func FuzzExchangeResponses(f *testing.F) {
	f.Add([]byte{0x80, 1, 0, 0, 0, 10, 0, 0, 9, 0x9D})
	f.Add(append([]byte{0x80, 1, 0, 0, 0, 30, 0, 0, 0, 0, 0, 0, 0, 1}, append(selection([]int{7}), 0, 0, 0, 1, 0, 32)...))
	f.Fuzz(func(t *testing.T, answer []byte) {
		c := NewChip(script(answer))
		_, _ = c.ReadState([]int{7})
		if k, err := NewExchange(c, salt(1), State{PCRs: []int{7}, Values: [][]byte{make([]byte, 32)}}); (k == nil) == (err == nil) {
			t.Fatalf("got %v, %v", k, err)
		}
		if m, err := NewMAC(c, salt(1)); err == nil {
			_, _ = m.Sum(nil)
		}
		if z, err := shared(answer); err == nil && len(z) != 32 {
			t.Fatalf("a secret of %d bytes", len(z))
		}
	})
}
