package notice

import (
	"crypto/ecdh"
	"testing"
)

func keys(t testing.TB) (a, b Key) {
	t.Helper()
	var raw, pub [2][32]byte
	for i := range raw {
		raw[i][0] = byte(i + 1)
		priv, err := ecdh.X25519().NewPrivateKey(raw[i][:])
		if err != nil {
			t.Fatal(err)
		}
		pub[i] = [32]byte(priv.PublicKey().Bytes())
	}
	a, err := NewKey(raw[0], pub[1])
	if err != nil {
		t.Fatal(err)
	}
	if b, err = NewKey(raw[1], pub[0]); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// TestNotice: both ends have one key, and what either writes the other reads; a
// changed byte or another key does not pass.
func TestNotice(t *testing.T) {
	a, b := keys(t)
	if a != b {
		t.Fatal("the ends have different keys")
	}
	n := Notice{Nonce: [8]byte{1, 2}, Seq: 7, All: true, Small: 3}
	raw := n.Marshal(a)
	if got, err := Parse(raw, b); err != nil || got != n {
		t.Errorf("got %+v, %v", got, err)
	}
	if id, ok := Of(raw); !ok || id != b.ID() {
		t.Errorf("id %x, %v", id, ok)
	}
	ans := Answer{Nonce: [8]byte{9}, Seq: 7, Datagrams: 1 << 40, Bytes: 5}
	answer := ans.Marshal(b)
	if got, err := ParseAnswer(answer, a); err != nil || got != ans || !IsAnswer(answer) {
		t.Errorf("got %+v, %v", got, err)
	}
	for i := range raw {
		bad := append([]byte(nil), raw...)
		bad[i] ^= 1
		if _, err := Parse(bad, b); err == nil {
			t.Errorf("byte %d changed, still taken", i)
		}
	}
	if _, err := Parse(raw, Key{1}); err == nil {
		t.Error("taken with another key")
	}
	if _, err := NewKey([32]byte{1}, [32]byte{}); err == nil {
		t.Error("a public key of zeros was taken")
	}
	if raw[0] <= 4 && raw[1] == 0 && raw[2] == 0 && raw[3] == 0 {
		t.Error("WireGuard would take it for one of its own")
	}
}

func FuzzParse(f *testing.F) {
	a, _ := keys(f)
	f.Add(Notice{Seq: 1}.Marshal(a))
	f.Add(Answer{Seq: 1}.Marshal(a))
	f.Add([]byte("cgn1"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n, err := Parse(raw, a); err == nil {
			if id, ok := Of(raw); !ok || id != a.ID() {
				t.Fatalf("parsed %+v, but it claims %x", n, id)
			}
		}
		if got, err := ParseAnswer(raw, a); err == nil && string(got.Marshal(a)) != string(raw) {
			t.Fatalf("%+v does not make %x", got, raw)
		}
	})
}
