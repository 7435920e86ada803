package book

import (
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/vault/deed"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

type prf string

func (p prf) Sum(text []byte) ([32]byte, error) {
	mac := hmac.New(sha256.New, []byte(p))
	mac.Write(text)
	return [32]byte(mac.Sum(nil)), nil
}

// world is a book with two sites, and each box's key.
type world struct {
	*Book
	t    *testing.T
	dir  string
	keys map[string]hpke.PrivateKey
	pts  map[string][]byte
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), keys: map[string]hpke.PrivateKey{}, pts: map[string][]byte{}}
	w.open()
	w.ok(w.Enrol("ops-1", "ops-1", Member{Role: Ops}))
	w.ok(w.Enrol("ops-1", "boss-1", Member{Role: Manager, Site: "T-1"}))
	w.ok(w.Enrol("ops-1", "boss-2", Member{Role: Manager, Site: "T-2"}))
	for box, site := range map[string]string{"T-1-a": "T-1", "T-1-b": "T-1", "T-2-a": "T-2"} {
		w.ok(w.Enrol("ops-1", box, Member{Role: Box, Site: site}))
		w.newKey(box)
	}
	return w
}

func (w *world) open() {
	w.t.Helper()
	b, err := Open(w.dir, prf("secret"), time.Hour)
	w.ok(err)
	w.Book = b
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) newKey(box string) {
	w.t.Helper()
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	w.ok(err)
	w.keys[box], err = hpke.NewDHKEMPrivateKey(k)
	w.ok(err)
	w.pts[box] = k.PublicKey().Bytes()
}

func (w *world) deed(box, domain string) (*deed.Deed, error) {
	sealed, err := w.Deed(box, deed.Ask{V: 1, Domain: domain, Key: w.pts[box]}, noon)
	if err != nil {
		return nil, err
	}
	return deed.Open(w.keys[box], box, domain, sealed)
}

func (w *world) has(box, domain string) *deed.Deed {
	w.t.Helper()
	d, err := w.deed(box, domain)
	w.ok(err)
	return d
}

func (w *world) no(what string, err error, want string) {
	w.t.Helper()
	var no *Refused
	if !errors.As(err, &no) || no.Type != want {
		w.t.Errorf("%s: got %v, want %s", what, err, want)
	}
}

// A site's boxes have the same keys, others none, also after a restart.
func TestDeeds(t *testing.T) {
	w := newWorld(t)
	a := w.has("T-1-a", "T-1/uploads")
	if a.May != deed.Write || !a.Until.Equal(noon.Add(time.Hour)) || a.Use != 1 || a.Floor != 0 {
		t.Errorf("got %+v", a)
	}
	w.open()
	if b := w.has("T-1-b", "T-1/uploads"); b.Keys[0] != a.Keys[0] || b.Blind != a.Blind {
		t.Error("the pair's boxes have different keys")
	}
	if other := w.has("T-1-a", "T-1/audit"); other.Keys[0].Key == a.Keys[0].Key || other.Blind == a.Blind || a.Blind == a.Keys[0].Key {
		t.Error("two domains, or two uses, share a key")
	}
	_, err := w.deed("T-2-a", "T-1/uploads")
	w.no("another site's box", err, deed.RefusedAccess)
	_, err = w.deed("T-2-a", "T-1/none")
	w.no("a domain of another site that is not", err, deed.RefusedAccess)
	w.newKey("T-9-a")
	_, err = w.deed("T-9-a", "T-9/uploads")
	w.no("nobody's box", err, deed.RefusedAccess)
	_, err = w.deed("boss-1", "T-1/uploads")
	w.no("a manager", err, deed.RefusedRequest) // has no key, and would get none
	_, err = w.deed("T-1-a", "uploads")
	w.no("a name that is none", err, deed.RefusedRequest)
	text, err := os.ReadFile(filepath.Join(w.dir, "book.json"))
	w.ok(err)
	key := a.Keys[0].Key[:]
	if strings.Contains(string(text), hex.EncodeToString(key)) || strings.Contains(string(text), base64.StdEncoding.EncodeToString(key)) {
		t.Error("a key is in the book")
	}
}

// A certificate alone is not enough: the key that deeds are sealed to was enrolled,
// or was there first.
func TestAttackOtherKey(t *testing.T) {
	w := newWorld(t)
	w.has("T-1-a", "T-1/uploads")
	w.newKey("T-1-a")
	_, err := w.deed("T-1-a", "T-1/uploads")
	w.no("a stolen certificate", err, deed.RefusedKey)
	w.open()
	_, err = w.deed("T-1-a", "T-1/audit")
	w.no("after a restart", err, deed.RefusedKey)
	sum := sha256.Sum256(w.pts["T-1-a"])
	w.no("enrolled by itself", w.Enrol("T-1-a", "T-1-a", Member{Role: Box, Site: "T-1", Key: hex.EncodeToString(sum[:])}), deed.RefusedAccess)
	w.ok(w.Enrol("ops-1", "T-1-a", Member{Role: Box, Site: "T-1", Key: hex.EncodeToString(sum[:])}))
	w.has("T-1-a", "T-1/uploads")
}

// Who may say what.
func TestRoles(t *testing.T) {
	w := newWorld(t)
	w.has("T-1-a", "T-1/uploads")
	w.no("a second first of ops", w.Enrol("ops-2", "ops-2", Member{Role: Ops}), deed.RefusedAccess)
	w.no("a manager enrols", w.Enrol("boss-1", "x", Member{Role: Box, Site: "T-1"}), deed.RefusedAccess)
	w.no("a manager takes off", w.Revoke("boss-1", "T-1-a", "why"), deed.RefusedAccess)
	w.no("ops shares", w.Grant("ops-1", "T-1/uploads", "T-2", deed.Read), deed.RefusedAccess)
	w.no("another site's manager shares", w.Grant("boss-2", "T-1/uploads", "T-2", deed.Write), deed.RefusedAccess)
	w.no("another site's manager shreds", w.Shred("boss-2", "T-1/uploads", noon), deed.RefusedAccess)
	w.no("a box rotates", w.Rotate("T-1-a", "T-1/uploads", noon), deed.RefusedAccess)
	w.no("a right that is none", w.Grant("boss-1", "T-1/uploads", "T-2", "own"), deed.RefusedRequest)
	w.no("off its own", w.Grant("boss-1", "T-1/uploads", "T-1", ""), deed.RefusedRequest)
	w.no("a role that is none", w.Enrol("ops-1", "x", Member{Role: "root", Site: "T-1"}), deed.RefusedRequest)
	w.no("a box without a site", w.Enrol("ops-1", "x", Member{Role: Box}), deed.RefusedRequest)
	w.no("nobody taken off", w.Revoke("ops-1", "x", "why"), deed.RefusedRequest)
	w.no("taken off without a reason", w.Revoke("ops-1", "T-1-a", ""), deed.RefusedRequest)
	if lines, err := w.List("boss-2"); err != nil || len(lines) != 0 {
		t.Errorf("another site's manager sees %v, %v", lines, err)
	}
	if lines, err := w.List("ops-1"); err != nil || len(lines) != 1 || lines[0].Access["T-1"] != deed.Write {
		t.Errorf("ops sees %v, %v", lines, err)
	}
	_, err := w.List("T-1-a")
	w.no("a box lists", err, deed.RefusedAccess)
	w.ok(w.Revoke("ops-1", "T-1-a", "stolen"))
	w.open()
	_, err = w.deed("T-1-a", "T-1/uploads")
	w.no("a stolen box", err, deed.RefusedAccess)
	w.has("T-1-b", "T-1/uploads") // the pair's other one goes on
}

func TestShare(t *testing.T) {
	w := newWorld(t)
	mine := w.has("T-1-a", "T-1/consults")
	w.ok(w.Grant("boss-1", "T-1/consults", "T-2", deed.Read))
	w.open()
	if theirs := w.has("T-2-a", "T-1/consults"); theirs.May != deed.Read || theirs.Keys[0] != mine.Keys[0] {
		t.Errorf("got %+v", theirs)
	}
	_, err := w.deed("T-2-a", "T-1/uploads")
	w.no("a domain beside the shared one", err, deed.RefusedAccess)
	w.ok(w.Grant("boss-1", "T-1/consults", "T-2", ""))
	_, err = w.deed("T-2-a", "T-1/consults")
	w.no("shared no more", err, deed.RefusedAccess)
}

// A new key comes beside the old ones; shredding leaves the newest alone, and what
// it forgot is in the book nowhere.
func TestRotateAndShred(t *testing.T) {
	w := newWorld(t)
	first := w.has("T-1-a", "T-1/uploads")
	w.ok(w.Rotate("boss-1", "T-1/uploads", noon))
	second := w.has("T-1-a", "T-1/uploads")
	if second.Use != 2 || len(second.Keys) != 2 || second.Keys[0] != first.Keys[0] || second.Blind != first.Blind || second.Floor != 0 {
		t.Errorf("after rotation: %+v", second)
	}
	nonces := w.Domains["T-1/uploads"].Versions
	w.ok(w.Shred("boss-1", "T-1/uploads", noon))
	w.open()
	third := w.has("T-1-a", "T-1/uploads")
	if third.Use != 3 || third.Floor != 3 || len(third.Keys) != 1 || third.Blind == first.Blind {
		t.Errorf("after shredding: %+v", third)
	}
	for _, d := range w.Domains {
		for _, v := range d.Versions {
			for _, gone := range nonces {
				if string(v.Nonce) == string(gone.Nonce) {
					t.Error("a nonce that was shredded is still in the book")
				}
			}
		}
	}
	w.Domains["T-1/uploads"].Versions = []Version{{N: deed.MaxVersion, Nonce: nonces[0].Nonce}}
	w.no("more keys than there are numbers", w.Rotate("boss-1", "T-1/uploads", noon), deed.RefusedRequest)
}

// What can't be written was not done.
func TestBookThatCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	first := w.has("T-1-a", "T-1/uploads")
	w.path = filepath.Join(w.dir, "none", "book.json")
	if err := w.Rotate("boss-1", "T-1/uploads", noon); err == nil {
		t.Error("rotated")
	}
	if err := w.Revoke("ops-1", "T-1-a", "stolen"); err == nil {
		t.Error("revoked")
	}
	if err := w.Enrol("ops-1", "T-3-a", Member{Role: Box, Site: "T-3"}); err == nil || w.Members["T-3-a"] != nil {
		t.Error("enrolled")
	}
	if _, err := w.deed("T-1-b", "T-1/audit"); err == nil {
		t.Error("a deed of a domain that is not in the book")
	}
	if d := w.has("T-1-a", "T-1/uploads"); d.Use != first.Use {
		t.Errorf("got %+v", d)
	}
	w.path = filepath.Join(w.dir, "book.json")
	w.ok(os.WriteFile(w.path, []byte(`{"v":2}`), 0o600))
	if _, err := Open(w.dir, prf(""), time.Hour); err == nil {
		t.Error("opened a book of another kind")
	}
}
