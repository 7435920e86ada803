package revoked

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/cardauth/trust"
	"clinicgate/firmware/lab/pki"
)

var now = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)

func world(t *testing.T) (*pki.World, Authorities, ed25519.PrivateKey) {
	t.Helper()
	w, err := pki.New(now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := trust.ParseAnchors(append(w.Root.PEM(), w.Professionals.PEM()...))
	if err != nil {
		t.Fatal(err)
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return w, Authorities{Anchors: []*trust.Anchors{a, nil}, Hotlist: pub}, priv
}

func crl(t *testing.T, ca *pki.CA, n int64) []byte {
	t.Helper()
	der, err := ca.CRL(n, now.Add(time.Duration(n)*time.Minute-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func hotlist(t *testing.T, key ed25519.PrivateKey, serial int64) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"serial": serial, "issued": now, "holders": []string{"1"}})
	if err == nil {
		text, err = json.Marshal(map[string][]byte{"payload": text, "signature": ed25519.Sign(key, append([]byte("clinicgate hotlist v1\n"), text...))})
	}
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func open(t *testing.T, dir string, by Authorities) *Store {
	t.Helper()
	s, err := Open(dir)
	if err == nil {
		err = s.Load(by, now)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func numbers(s *Store) (hot int64, crls int) {
	if h := s.Now().Hotlist(); h != nil {
		hot = h.Serial
	}
	return hot, len(s.Now().Lists())
}

// What was taken is in force after a stop; what is older, or nobody's, changes
// nothing.
func TestImport(t *testing.T) {
	w, by, key := world(t)
	dir := filepath.Join(t.TempDir(), "lists")
	s := open(t, dir, by)
	for _, c := range []struct {
		name string
		data []byte
		want error
		says string
	}{
		{"a list", crl(t, w.Professionals, 2), nil, "list 2 of Test Health Professionals CA"},
		{"the same", crl(t, w.Professionals, 2), trust.ErrRollback, ""}, // signed once more: other bytes
		{"an older one", crl(t, w.Professionals, 1), trust.ErrRollback, ""},
		{"the root's", crl(t, w.Root, 1), nil, "Root CA"},
		{"a foreign one", crl(t, w.Foreign, 9), trust.ErrList, ""},
		{"a hotlist", hotlist(t, key, 4), nil, "hotlist 4 with 1"},
		{"an older one", hotlist(t, key, 3), trust.ErrRollback, ""},
		{"nonsense", []byte("hello"), trust.ErrList, ""},
		{"nothing", nil, trust.ErrList, ""},
		{"a newer one", crl(t, w.Professionals, 3), nil, "list 3"},
	} {
		what, err := s.Import(c.data, by, now)
		if !errors.Is(err, c.want) || !strings.Contains(what, c.says) {
			t.Errorf("%s: %q, %v, want %v", c.name, what, err, c.want)
		}
	}
	if hot, n := numbers(open(t, dir, by)); hot != 4 || n != 2 {
		t.Errorf("after a stop: hotlist %d, %d lists", hot, n)
	}
}

// Other anchors: their lists are worth nothing any more, and all again with the old
// ones.
func TestAnchorsChange(t *testing.T) {
	w, by, _ := world(t)
	_, others, _ := world(t)
	dir := filepath.Join(t.TempDir(), "lists")
	s := open(t, dir, by)
	if _, err := s.Import(crl(t, w.Professionals, 2), by, now); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(others, now); err == nil {
		t.Error("a list nobody signed was taken without a word")
	}
	if _, n := numbers(s); n != 0 {
		t.Errorf("%d lists of authorities that are none", n)
	}
	if err := s.Load(by, now); err != nil {
		t.Fatal(err)
	}
	if _, n := numbers(s); n != 1 {
		t.Errorf("%d lists, want 1", n)
	}
}

// A stop while a file is written leaves a stray one beside it.
func TestStrayFile(t *testing.T) {
	w, by, _ := world(t)
	dir := filepath.Join(t.TempDir(), "lists")
	s := open(t, dir, by)
	if _, err := s.Import(crl(t, w.Professionals, 2), by, now); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".hotlist.json.tmp"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if hot, n := numbers(open(t, dir, by)); hot != 0 || n != 1 {
		t.Errorf("hotlist %d, %d lists", hot, n)
	}
}

// What a technician copies into the folder is taken once, and refused with a word.
func TestFolder(t *testing.T) {
	w, by, key := world(t)
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "lists"), by)
	drop := filepath.Join(dir, "drop")
	if did, bad := s.Folder(drop, by, now); did != nil || bad != nil {
		t.Errorf("no folder: %v, %v", did, bad)
	}
	if err := os.MkdirAll(filepath.Join(drop, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"a.crl": crl(t, w.Professionals, 5), "old.crl": crl(t, w.Professionals, 2), "hot.json": hotlist(t, key, 1), "holiday.jpg": []byte("JFIF"), ".part": []byte("x"),
	} {
		if err := os.WriteFile(filepath.Join(drop, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	did, bad := s.Folder(drop, by, now)
	if len(did) != 2 || len(bad) != 1 || bad["holiday.jpg"] == nil {
		t.Errorf("took %v, refused %v", did, bad)
	}
	if did, bad = s.Folder(drop, by, now); len(did) != 0 || len(bad) != 1 {
		t.Errorf("once more: took %v, refused %v", did, bad)
	}
	if hot, n := numbers(s); hot != 1 || n != 1 {
		t.Errorf("hotlist %d, %d lists", hot, n)
	}
}
