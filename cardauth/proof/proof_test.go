package proof

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"
	"testing"
)

func TestKeysWeRefuse(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	e3 := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 3}
	e1 := &rsa.PublicKey{N: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 2047), big.NewInt(1)), E: 1} // every message is its own signature
	short := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}
	for _, pub := range []any{p224.Public(), e3, e1, short, "key"} {
		if _, err := KindOf(pub); err == nil {
			t.Errorf("%T was taken", pub)
		}
	}
}

// Signed as a card signs, by what Block hands it, a message checks; anything else
// does not.
func TestCheck(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsa2048, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	msg := []byte("message")
	for _, key := range []crypto.Signer{p256, p384, rsa2048} {
		kind, err := KindOf(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		block, err := kind.Block(msg)
		if err != nil {
			t.Fatal(err)
		}
		var sig []byte
		if r, ok := key.(*rsa.PrivateKey); ok {
			sig = new(big.Int).Exp(new(big.Int).SetBytes(block), r.D, r.N).FillBytes(make([]byte, 256))
		} else if sig, err = key.Sign(rand.Reader, block, crypto.Hash(0)); err != nil {
			t.Fatal(err)
		}
		if err := Check(key.Public(), msg, sig); err != nil {
			t.Errorf("%T: own signature: %v", key, err)
		}
		if err := Check(key.Public(), []byte("messagf"), sig); !errors.Is(err, ErrNotTheKey) {
			t.Errorf("%T: another message: %v", key, err)
		}
		if err := Check(key.Public(), msg, nil); !errors.Is(err, ErrNotTheKey) {
			t.Errorf("%T: no signature: %v", key, err)
		}
	}
	if _, err := Kind(0x05).Block(msg); err == nil {
		t.Error("an unknown kind of key was given a block")
	}
	if err := Check("key", msg, nil); !errors.Is(err, ErrNotTheKey) {
		t.Errorf("a key of no kind: %v", err)
	}
}

// Moving a byte from one part of a challenge to the next changes the message.
func TestChallengePartsDoNotRunTogether(t *testing.T) {
	nonce := make([]byte, NonceSize)
	one := Challenge{Purpose: "login", Reader: "ab", Session: "c", Nonce: nonce}
	for _, two := range []Challenge{
		{Purpose: "login", Reader: "a", Session: "bc", Nonce: nonce},
		{Purpose: "logina", Reader: "b", Session: "c", Nonce: nonce},
		{Purpose: "login", Reader: "ab", Channel: []byte("c"), Nonce: nonce},
		{Purpose: "login", Reader: "ab", About: []byte("c"), Nonce: nonce},
	} {
		if bytes.Equal(one.Message(), two.Message()) {
			t.Errorf("%+v reads like %+v", two, one)
		}
	}
	if err := one.Check(); err != nil {
		t.Error(err)
	}
	for _, bad := range []Challenge{
		{Nonce: nonce}, {Purpose: "x"}, {Purpose: "x", Nonce: nonce[:31]}, {Purpose: "x", Nonce: nonce, About: make([]byte, 65)},
		{Purpose: "x", Nonce: nonce, Reader: string(make([]byte, 300))},
	} {
		if err := bad.Check(); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}
