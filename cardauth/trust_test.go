package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/wire"
)

// siteWith adds sections to the site file.
func siteWith(sections string) func(*desk) {
	return func(d *desk) {
		path := filepath.Join(d.dir, "site", "site.toml")
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.Replace(string(text), "# ---- syncd: records", sections+"\n# ---- syncd: records", 1)), 0o644)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
}

// certificate reads a card's certificate for logging in.
func certificate(t *testing.T, ca *pki.CA, number string, c *pivcard.Card) *x509.Certificate {
	t.Helper()
	der, err := ca.CardCertificate(pki.Person{Name: "Dr " + number, Registration: number, Profession: pki.Doctor, GUID: c.GUID()}, 0x9A, c.Public(0x9A))
	if err == nil {
		err = c.PutCertificate(0x9A, der)
	}
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func (d *desk) bring(data []byte, err error) string {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
	code, body := d.control(http.MethodPost, "/lists", bytes.NewReader(data))
	if code != http.StatusOK {
		d.t.Fatalf("%d %s", code, body)
	}
	return body
}

// A card that is revoked while its session lives: the list ends the session when it
// comes, by whatever way, and no login brings it back.
func TestAttackRevokedCard(t *testing.T) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, siteWith("[card.revocation]\nhotlist_key = \""+base64.StdEncoding.EncodeToString(pub)+"\"\n"))
	d.until("the grade without a list", grade(wire.GradeEmergency))
	d.bring(d.world.Professionals.CRL(1, time.Now().Add(-time.Hour)))
	d.until("the grade with one", grade(wire.GradeFresh))
	first, second := d.card(d.world.Professionals, "1"), d.card(d.world.Professionals, "2")
	cert := certificate(t, d.world.Professionals, "1", first)
	d.insert(first)
	d.mustLogin()
	at := time.Now()
	d.bring(d.world.Professionals.CRL(2, time.Now().Add(-time.Minute), cert))
	gone := d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
	t.Logf("session gone %v after its card was revoked", gone.Sub(at).Round(time.Millisecond))
	d.refused(d.login(rightPIN), http.StatusForbidden, "untrusted-card")
	if code, body := d.control(http.MethodPost, "/lists", list(t, d.world.Professionals, 1)); code != http.StatusConflict {
		t.Errorf("an older list: %d %s", code, body)
	}
	if code, body := d.control(http.MethodPost, "/lists", list(t, d.world.Foreign, 9)); code != http.StatusUnprocessableEntity {
		t.Errorf("a foreign list: %d %s", code, body)
	}
	d.remove()

	// By the hotlist, in the folder a technician copies to.
	d.insert(second)
	d.mustLogin()
	key, err := x509.MarshalPKIXPublicKey(second.Public(0x9A))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(key)
	text, err := json.Marshal(map[string]any{"serial": 1, "issued": time.Now(), "keys": []string{hex.EncodeToString(sum[:])}})
	if err != nil {
		t.Fatal(err)
	}
	text, err = json.Marshal(map[string][]byte{"payload": text, "signature": ed25519.Sign(priv, append([]byte("clinicgate hotlist v1\n"), text...))})
	if err == nil {
		err = os.MkdirAll(filepath.Join(d.dir, "site", "lists"), 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(d.dir, "site", "lists", "hotlist.json"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 && c.Trust.Hotlist == 1 })
	d.refused(d.login(rightPIN), http.StatusForbidden, "untrusted-card")
	if got := strings.Join(d.trace(), "\n"); !strings.Contains(got, "distrusted") || !strings.Contains(got, "hotlist 1") || !strings.Contains(got, "list 2 of") {
		t.Errorf("traced:\n%s", got)
	}
	d.kill()
	d.launch()
	d.serves()
	d.until("the card again", reader(wire.ReaderCard))
	d.refused(d.login(rightPIN), http.StatusForbidden, "untrusted-card")
}

func list(t *testing.T, ca *pki.CA, n int64) *bytes.Reader {
	t.Helper()
	der, err := ca.CRL(n, time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(der)
}

func grade(want string) func(*wire.Card) bool {
	return func(c *wire.Card) bool { return c.Trust.Grade == want }
}

// Lists that run out take rights, not the clinic: login goes on at every age, and
// says what is allowed.
func TestStaleListsNeverBrick(t *testing.T) {
	d := newDesk(t, siteWith("[card.revocation]\nstale = \"24h\"\nrestricted = \"48h\"\n"))
	d.insert(d.card(d.world.Professionals, "1"))
	week := 7 * 24 * time.Hour
	for i, c := range []struct {
		late time.Duration
		want string
	}{{49 * time.Hour, wire.GradeEmergency}, {25 * time.Hour, wire.GradeRestricted}, {time.Hour, wire.GradeStale}, {-time.Hour, wire.GradeFresh}} {
		d.bring(d.world.Professionals.CRL(int64(i+1), time.Now().Add(-week-c.late)))
		d.until(c.want, func(w *wire.Card) bool {
			return grade(c.want)(w) && hasFault("card.lists-stale")(w) == (c.want != wire.GradeFresh)
		})
		d.mustLogin()
	}
}

// The clock set back does not bring an old world back.
func TestAttackClockSetBack(t *testing.T) {
	d := newDesk(t, func(d *desk) {
		floor, err := json.Marshal(time.Now().Add(365 * 24 * time.Hour))
		if err == nil {
			err = os.WriteFile(filepath.Join(d.dir, "state", "floor.json"), floor, 0o600)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	})
	d.fault("card.clock")
	d.until("the word of it", func(c *wire.Card) bool { return c.Trust.Clock == "suspect" && c.Trust.ClockBy != "" })
	c, err := pivcard.New(rightPIN)
	if err != nil {
		t.Fatal(err)
	}
	// Good today, run out by the time that has surely passed.
	template, err := pki.CardTemplate(pki.Person{Name: "Dr", Registration: "1", Profession: pki.Doctor}, 0x9A)
	if err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(30*24*time.Hour)
	der, err := d.world.Professionals.Sign(template, c.Public(0x9A))
	if err == nil {
		err = c.PutCertificate(0x9A, der)
	}
	if err != nil {
		t.Fatal(err)
	}
	d.insert(c)
	d.refused(d.login(rightPIN), http.StatusForbidden, "untrusted-card")
	d.remove()
	d.insert(d.card(d.world.Professionals, "2")) // good for two years
	d.mustLogin()
}

// Anchors change without a restart: who is under the new ones logs in, who was
// under the old ones only is out.
func TestAnchorsRotate(t *testing.T) {
	d := newDesk(t)
	d.insert(d.card(d.world.Professionals, "1"))
	d.mustLogin()
	next, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(d.dir, "site", "anchors", "professionals.pem")
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(data []byte) {
		if err := os.WriteFile(path+".new", data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	both := bytes.Join([][]byte{old, next.Root.PEM(), next.Professionals.PEM()}, nil)
	put(both)
	time.Sleep(6 * time.Second) // longer than the files are looked at
	d.until("the session still", func(c *wire.Card) bool { return len(c.Sessions) == 1 })
	put(append(next.Root.PEM(), next.Professionals.PEM()...))
	d.until("no session", func(c *wire.Card) bool { return len(c.Sessions) == 0 })
	d.refused(d.login(rightPIN), http.StatusForbidden, "untrusted-card")
	d.remove()
	d.insert(d.card(next.Professionals, "2"))
	d.mustLogin()
}
