package tpm

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"testing"

	"clinicgate/firmware/lab/swtpm"
)

func salt(b byte) []byte {
	s := make([]byte, SaltSize)
	s[0] = b
	return s
}

func key(t *testing.T, device io.ReadWriter, b byte) *Key {
	t.Helper()
	k, err := NewKey(NewChip(device), salt(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

// The same salt gives the same key, after a restart of the TPM too; another salt,
// or another TPM, another one.
func TestKey(t *testing.T) {
	dir := t.TempDir()
	device := swtpm.Start(t, dir)
	k := key(t, device, 1)
	digest := sha256.Sum256([]byte("text"))
	sig, err := k.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	pub := k.Public().(*ecdsa.PublicKey)
	if !ecdsa.VerifyASN1(pub, digest[:], sig) {
		t.Error("the signature does not verify")
	}
	if _, err := k.Sign(nil, digest[:20], crypto.SHA1); err == nil {
		t.Error("signed a digest of another size")
	}
	k.Close()
	if _, err := k.Sign(nil, digest[:], crypto.SHA256); err == nil {
		t.Error("a key that was let go signs")
	}
	if !key(t, device, 1).public.Equal(pub) {
		t.Error("the same salt gave another key")
	}
	if key(t, device, 2).public.Equal(pub) {
		t.Error("another salt gave the same key")
	}
	if key(t, swtpm.Start(t, t.TempDir()), 1).public.Equal(pub) {
		t.Error("another TPM has the same key")
	}
}

// Who can ask the TPM but does not know the salt can't use a key that is loaded.
func TestAttackTPMWithoutSalt(t *testing.T) {
	device := swtpm.Start(t, t.TempDir())
	k := key(t, device, 1)
	k.password = nil
	digest := sha256.Sum256([]byte("forged"))
	if _, err := k.Sign(nil, digest[:], crypto.SHA256); err == nil {
		t.Error("signed without the password")
	}
}

// A script answers every command the same.
type script []byte

func (s script) Write(b []byte) (int, error) { return len(b), nil }
func (s script) Read(b []byte) (int, error)  { return copy(b, s), nil }

// FuzzResponses: whatever a TPM answers, there is an error or a key that can be
// used, and no panic.
func FuzzResponses(f *testing.F) {
	good := func(body ...byte) []byte {
		head := binary.BigEndian.AppendUint16(nil, tagSessions)
		head = binary.BigEndian.AppendUint32(head, uint32(10+len(body)))
		return append(append(head, 0, 0, 0, 0), body...)
	}
	f.Add(good())
	f.Add(good(0x80, 0, 0, 1, 0, 0, 0, 4, 0, 2, 1, 2))
	f.Add(good(append([]byte{0x80, 0, 0, 1, 0, 0, 0, 90, 0, 88}, make([]byte, 88)...)...))
	f.Add(good(0, 0, 0, 8, 0, algECDSA, 0, algSHA256, 0, 1, 1, 0, 1, 1))
	f.Add([]byte{0x80, 1, 0, 0, 0, 10, 0, 0, 1, 1})
	f.Fuzz(func(t *testing.T, answer []byte) {
		if k, err := NewKey(NewChip(script(answer)), salt(1)); (k == nil) == (err == nil) {
			t.Fatalf("got %v, %v", k, err)
		}
		if _, err := signature(answer); err == nil && len(answer) < 12 {
			t.Fatal("a signature out of nothing")
		}
		_, _ = (&Clock{script(answer)}).Read()
	})
}
