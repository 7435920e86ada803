package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"testing"
	"time"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func kids(s *Signer, at time.Time) (out []string) {
	for _, k := range s.JWKS(at).Keys {
		out = append(out, k.Kid)
	}
	return out
}

// A new key is told before it signs, and at every moment each token that is out can
// be checked with the keys told then.
func TestRotation(t *testing.T) {
	s := signer(t)
	from, err := s.Rotate(newKey(t), now)
	if err != nil || !from.After(now) {
		t.Fatalf("in use from %v, %v", from, err)
	}
	told := kids(s, now)
	if len(told) != 2 || s.current(now).kid != told[0] || s.current(from).kid != told[1] {
		t.Fatalf("told %v; signs with %s, then %s", told, s.current(now).kid, s.current(from).kid)
	}
	for at := now; at.Before(now.Add(3 * time.Minute)); at = at.Add(time.Second) {
		text, err := s.Issue(doctor, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, later := range []time.Duration{0, Lifetime / 2, Lifetime - time.Second} {
			if _, _, err := s.Check(text, at.Add(later)); err != nil {
				t.Fatalf("issued at %v, after %v: %v", at.Sub(now), later, err)
			}
		}
	}
	if left := kids(s, from.Add(outlives)); len(left) != 1 || left[0] != told[1] {
		t.Errorf("told %v after all is over, want the new one", left)
	}
}

// A token of a key that is long over is refused, whatever it says of its time.
func TestAttackOldTokenKey(t *testing.T) {
	s := signer(t)
	thief := &Signer{issuer: s.issuer, keys: s.keys[:1:1]}
	from, err := s.Rotate(newKey(t), now)
	if err != nil {
		t.Fatal(err)
	}
	later := from.Add(outlives)
	text, err := thief.Issue(doctor, later)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Check(text, later); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v, want ErrInvalid", err)
	}
}

// A token of another box, of the same site code or of the same key but another
// code, is none of ours.
func TestAttackTokenOfAnotherBox(t *testing.T) {
	s := signer(t)
	twin := &Signer{issuer: "urn:clinicgate:other", keys: s.keys}
	for name, text := range map[string]string{"other key": issue(t, signer(t), doctor), "other site": issue(t, twin, doctor)} {
		if _, _, err := s.Check(text, now); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: got %v, want ErrInvalid", name, err)
		}
	}
}
