package vault

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

func open(t testing.TB, dir string) *Vault {
	t.Helper()
	v, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestKeySurvivesAndStaysPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets", "syncd")
	v := open(t, dir)
	sealed := v.Domain("uploads").Seal(nil, []byte("text"), []byte("id"))
	if !v.Fresh() {
		t.Error("the first start did not say that it made the keys")
	}
	fi, err := os.Stat(filepath.Join(dir, keysFile))
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatalf("key file: %v, %v; want mode 0600", fi, err)
	}
	again := open(t, dir)
	if again.Fresh() {
		t.Error("the second start claims to have made the keys")
	}
	got, err := again.Domain("uploads").Open(nil, sealed, []byte("id"))
	if err != nil || string(got) != "text" {
		t.Fatalf("after a restart: got %q, %v", got, err)
	}
	if again.Domain("uploads").Blind([]byte("id")) != v.Domain("uploads").Blind([]byte("id")) {
		t.Error("the blinded name changed over a restart")
	}
	if want := "software: this box has no TPM"; again.State() != want {
		t.Errorf("got state %q, want %q", again.State(), want)
	}
}

func TestDamagedKeysAreRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir).Domain("uploads")
	path := filepath.Join(dir, keysFile)
	good, err := os.ReadFile(path)
	must(t, err)
	flip := func(after string) []byte {
		b := bytes.Clone(good)
		at := bytes.Index(b, []byte(after)) + len(after) + 8
		b[at] = map[bool]byte{true: 'A', false: 'B'}[b[at] != 'A']
		return b
	}
	for name, text := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)/2], "wrapping key": flip(`"private": "`), "body key": flip(`"key": "`), "body": flip(`"body": "`),
		"version":    bytes.Replace(good, []byte(`"v": 1`), []byte(`"v": 2`), 1),
		"wrapped by": bytes.Replace(good, []byte(`"file"`), []byte(`"hand"`), 1),
		"no TPM":     bytes.Replace(good, []byte(`"file"`), []byte(`"tpm"`), 1),
	} {
		must(t, os.WriteFile(path, text, 0o600))
		if v, err := Open(dir); err == nil {
			t.Errorf("%s: damaged keys were used: %v", name, v.Holdings())
		}
		if kept, _ := os.ReadFile(path); !bytes.Equal(kept, text) {
			t.Errorf("%s: the damaged keys were overwritten", name)
		}
	}
	must(t, os.WriteFile(path, good, 0o600))
	must(t, os.Chmod(path, 0o644))
	if _, err := Open(dir); err == nil {
		t.Error("keys that others can read were used")
	}
}

// What was sealed opens as itself only: same domain, same identity, every bit.
func TestSealBinds(t *testing.T) {
	v := open(t, t.TempDir())
	a, b := v.Domain("a"), v.Domain("b")
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "text")
		id := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "id")
		head := []byte("head")
		sealed := a.Seal(bytes.Clone(head), text, id)
		if !bytes.Equal(sealed[:4], head) || len(sealed) != 4+len(text)+Overhead {
			t.Fatalf("sealed %d bytes to %d after the head", len(text), len(sealed)-4)
		}
		sealed = sealed[4:]
		got, err := a.Open(bytes.Clone(head), sealed, id)
		if err != nil || !bytes.Equal(got, append(head, text...)) {
			t.Fatalf("got %x, %v", got, err)
		}
		spoilt := bytes.Clone(sealed)
		spoilt[rapid.IntRange(0, len(sealed)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		short := sealed[:rapid.IntRange(0, len(sealed)-1).Draw(t, "short")]
		for name, err := range map[string]error{
			"bit flip":       second(a.Open(nil, spoilt, id)),
			"cut short":      second(a.Open(nil, short, id)),
			"other domain":   second(b.Open(nil, sealed, id)),
			"other identity": second(a.Open(nil, sealed, append(bytes.Clone(id), 0))),
		} {
			if !errors.Is(err, ErrSealed) {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

func second(_ []byte, err error) error { return err }

// A domain without keys neither seals nor opens.
func TestDomainWithoutKey(t *testing.T) {
	d := open(t, t.TempDir()).Domain("T-2/uploads")
	if d.Err() == nil {
		t.Fatal("no word about the missing key")
	}
	if _, err := d.Open(nil, make([]byte, 100), nil); err == nil {
		t.Fatal("opened without a key")
	}
	defer func() {
		if recover() == nil {
			t.Fatal("sealed without a key")
		}
	}()
	d.Seal(nil, []byte("text"), nil)
}

// sealedBefore is what the first releases wrote: the objects of a known master key.
// They are how a box of that time looks to this release.
func sealedBefore(t *testing.T, dir string) (m *legacy, objects map[string][]byte, blinds map[string][32]byte) {
	t.Helper()
	m = &legacy{key: [32]byte{1, 2, 3}, nonce: [32]byte{4, 5, 6}}
	must(t, os.WriteFile(filepath.Join(dir, legacyFile), []byte(m.text()), 0o600))
	objects, blinds = map[string][]byte{}, map[string][32]byte{}
	for _, name := range Local() {
		key := m.domainKey(name)
		d := &Domain{name: name}
		d.ring.Store(newRing(&contents{Own: &key}))
		objects[name], blinds[name] = d.Seal(nil, []byte("of "+name), []byte("id")), d.Blind([]byte("id"))
	}
	return m, objects, blinds
}

func holds(t *testing.T, v *Vault, objects map[string][]byte, blinds map[string][32]byte) {
	t.Helper()
	for name, sealed := range objects {
		d := v.Domain(name)
		if got, err := d.Open(nil, sealed, []byte("id")); err != nil || string(got) != "of "+name {
			t.Errorf("%s: got %q, %v", name, got, err)
		} else if d.Blind([]byte("id")) != blinds[name] {
			t.Errorf("%s: another blinded name", name)
		}
	}
}

// A box of the first releases keeps what it stored, wherever its first start with
// this one stops, and its master key is gone in the end.
func TestEarlierReleasesKeys(t *testing.T) {
	dir := t.TempDir()
	_, objects, blinds := sealedBefore(t, dir)
	before, err := os.ReadFile(filepath.Join(dir, legacyFile))
	must(t, err)
	v := open(t, dir)
	if v.Fresh() {
		t.Error("keys that were there count as made anew")
	}
	holds(t, v, objects, blinds)
	if _, err := os.Stat(filepath.Join(dir, legacyFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the master key is still there: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, legacyFile), before, 0o600)) // a stop before it was removed
	holds(t, open(t, dir), objects, blinds)
	if _, err := os.Stat(filepath.Join(dir, legacyFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the master key is there again: %v", err)
	}
	other := &legacy{}
	must(t, os.WriteFile(filepath.Join(dir, legacyFile), []byte(other.text()), 0o600))
	if _, err := Open(dir); err == nil {
		t.Error("two boxes' keys in one folder, and no word")
	}
	must(t, os.WriteFile(filepath.Join(dir, legacyFile), before[:60], 0o600))
	must(t, os.Remove(filepath.Join(dir, keysFile)))
	if _, err := Open(dir); err == nil {
		t.Error("a damaged master key was replaced")
	}
}

// The PRF of the first releases gives what it gave; Python's hmac made the value.
func TestEarlierReleasesPRF(t *testing.T) {
	got := (&legacy{}).domainKey("a")
	if want := "9fff5cd0470e4544aa26672cdaa7be1e497b6388527333ae19ca5750feeb1f69"; hex.EncodeToString(got[:]) != want {
		t.Errorf("got %x, want %s", got, want)
	}
}

func FuzzParseLegacy(f *testing.F) {
	f.Add((&legacy{}).text())
	f.Add(legacyTag + " 00 00 00\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseLegacy(text)
		if err != nil {
			return
		}
		if again, err := parseLegacy(m.text()); err != nil || *again != *m {
			t.Fatalf("%q reads back as %v, %v", m.text(), again, err)
		}
	})
}

func BenchmarkSeal64K(b *testing.B) {
	d, text := open(b, b.TempDir()).Domain("uploads"), make([]byte, 64<<10)
	b.SetBytes(int64(len(text)))
	var out []byte
	for b.Loop() {
		out = d.Seal(out[:0], text, []byte("id"))
	}
}
