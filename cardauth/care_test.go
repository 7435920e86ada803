package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/cardauth/proof"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/wire"
)

// couple is a desk with a second reader, for patients.
func couple(t *testing.T) (*desk, *pivcard.Slot) {
	t.Helper()
	beside := pivcard.NewSlot()
	d := newDesk(t, func(d *desk) {
		d.pcscd.Plug(d.t, beside, 1)
		path := filepath.Join(d.dir, "site", "site.toml")
		text, err := os.ReadFile(path)
		if err != nil {
			d.t.Fatal(err)
		}
		more := "[[card.reader]]\nmatch = \"Virtual PCD 00 01\"\nroom = \"consulting-1\"\nfor = \"patients\"\n" +
			"[card.patients]\nanchors = [\"patients.pem\"]\npolicy = \"" + pki.PolicyPatient + "\"\n[card.care]\nemergencies_per_day = 2\n# ---- syncd: records"
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), "# ---- syncd: records", more, 1)), 0o644); err != nil {
			d.t.Fatal(err)
		}
	})
	return d, beside
}

// person makes a card with certificates for all its keys.
func (d *desk) person(ca *pki.CA, p pki.Person) *pivcard.Card {
	d.t.Helper()
	c, err := pivcard.New(rightPIN)
	if err != nil {
		d.t.Fatal(err)
	}
	p.Name, p.GUID = "Person "+p.Registration, c.GUID()
	for _, slot := range []byte{0x9A, 0x9C, 0x9E} {
		der, err := ca.CardCertificate(p, slot, c.Public(slot))
		if err == nil {
			err = c.PutCertificate(slot, der)
		}
		if err != nil {
			d.t.Fatal(err)
		}
	}
	return c
}

func (d *desk) patient(number string) *pivcard.Card {
	return d.person(d.world.Patients, pki.Person{Registration: number, Policy: pki.PolicyPatient})
}

func (d *desk) doctor(number string) *pivcard.Card {
	return d.person(d.world.Professionals, pki.Person{Registration: number, Profession: pki.Doctor})
}

// send is call with a method.
func (d *desk) send(method, path, token, body string) (int, string) {
	d.t.Helper()
	req, err := http.NewRequest(method, "https://"+d.addr+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := d.ws.Do(req)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var raw json.RawMessage
	_ = json.NewDecoder(resp.Body).Decode(&raw) // 204 has none
	return resp.StatusCode, string(raw)
}

func basis(want ...string) func(*wire.Card) bool {
	return func(c *wire.Card) bool {
		var got []string
		for _, x := range c.Care {
			got = append(got, x.Basis)
		}
		return fmt.Sprint(got) == fmt.Sprint(want)
	}
}

// A visit: the doctor's card and PIN, the patient's card beside it, both leave;
// nothing published names the patient.
func TestCare(t *testing.T) {
	d, beside := couple(t)
	if err := d.slot.Insert(d.doctor("1")); err != nil {
		t.Fatal(err)
	}
	d.until("the doctor's card", state("Virtual PCD 00 00", wire.ReaderCard))
	a := d.mustLogin()
	if err := beside.Insert(d.patient("1001")); err != nil {
		t.Fatal(err)
	}
	d.until("care", basis(wire.CarePresent))
	text, err := os.ReadFile(filepath.Join(d.dir, "run", wire.CardFile))
	if err != nil || strings.Contains(string(text), "1001") || strings.Contains(string(text), "Person") {
		t.Errorf("cardauth.json names the patient, %v: %s", err, text)
	}
	key, err := os.ReadFile(filepath.Join(d.dir, "run", wire.PatientKeyFile))
	if err != nil || !strings.Contains(string(text), wire.Pseudonym(key, "1001")) {
		t.Errorf("syncd can't tell the patient: %v", err)
	}
	code, body := d.send("GET", "/v1/care", a.Token, "")
	if code != http.StatusOK || !strings.Contains(body, `"basis":"present"`) {
		t.Errorf("care: %d %s", code, body)
	}
	beside.Remove()
	d.until("the window", basis(wire.CareWindow))
	d.slot.Remove()
	d.until("the end of it", basis())
}

func state(reader, want string) func(*wire.Card) bool {
	return func(c *wire.Card) bool {
		for _, r := range c.Readers {
			if r.Name == reader && r.State == want {
				return true
			}
		}
		return false
	}
}

// The glass is broken by a doctor, with a reason and the PIN, and signed by the
// card; anything less opens nothing and is on record.
func TestAttackBreakGlass(t *testing.T) {
	d, _ := couple(t)
	card := d.doctor("1")
	if err := d.slot.Insert(card); err != nil {
		t.Fatal(err)
	}
	d.until("the doctor's card", state("Virtual PCD 00 00", wire.ReaderCard))
	a := d.mustLogin()
	ask := func(token, patient, reason, pin string) answer {
		return d.call(d.ws, "/v1/break-glass", token, fmt.Sprintf(`{"patient":%q,"reason":%q,"pin":%q}`, patient, reason, pin))
	}
	const why = "unconscious, no card, penicillin?"
	d.refused(ask(a.Token, "1001", "", rightPIN), http.StatusBadRequest, "no-reason")
	d.refused(ask(a.Token, "1001", "xxx", rightPIN), http.StatusBadRequest, "no-reason")
	d.refused(ask(a.Token, "../1", why, rightPIN), http.StatusBadRequest, "no-reason")
	d.refused(ask(a.Token, "1001", why, "12"), http.StatusBadRequest, "malformed-pin")
	d.refused(ask("x", "1001", why, rightPIN), http.StatusUnauthorized, "invalid-token")
	d.until("no care", basis())
	if got := ask(a.Token, "1001", why, rightPIN); got.Status != http.StatusOK {
		t.Fatalf("got %+v", got)
	}
	d.until("the emergency", basis(wire.CareEmergency))
	d.fault("card.break-glass")
	d.checkSignature(why)

	d.refused(ask(a.Token, "1002", why, "111111"), http.StatusUnauthorized, "wrong-pin")
	d.until("the session's end", func(c *wire.Card) bool { return len(c.Sessions) == 0 && len(c.Care) == 0 })
	time.Sleep(1100 * time.Millisecond)
	a = d.mustLogin()
	d.until("the emergency again", basis(wire.CareEmergency))
	if got := ask(a.Token, "1002", why, rightPIN); got.Status != http.StatusOK {
		t.Fatalf("got %+v", got)
	}
	d.refused(ask(a.Token, "1003", why, rightPIN), http.StatusTooManyRequests, "too-many")
	if card.Tries() != 3 {
		t.Errorf("%d tries left", card.Tries())
	}
	d.slot.Remove()
	d.until("an empty reader", state("Virtual PCD 00 00", wire.ReaderEmpty))

	nurse := d.person(d.world.Professionals, pki.Person{Registration: "7", Profession: pki.Nurse})
	if err := d.slot.Insert(nurse); err != nil {
		t.Fatal(err)
	}
	d.until("the nurse's card", state("Virtual PCD 00 00", wire.ReaderCard))
	a = d.mustLogin()
	d.refused(ask(a.Token, "1001", why, rightPIN), http.StatusForbidden, "role")
	if got := strings.Join(d.trace(), "\n"); strings.Count(got, "110127 4") != 7 || strings.Count(got, "110127 0") != 2 {
		t.Errorf("traced:\n%s", got)
	}
}

// checkSignature checks the emergency in the trace as somebody would years later,
// with what is in the trace alone.
func (d *desk) checkSignature(reason string) {
	d.t.Helper()
	_, body := d.control(http.MethodGet, "/audit", nil)
	var got struct {
		Records []struct {
			Event struct {
				Outcome string
				Entity  []struct {
					Detail []struct {
						Type  string
						Bytes string `json:"valueBase64Binary"`
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		d.t.Fatal(err)
	}
	for _, r := range got.Records {
		parts := map[string][]byte{}
		for _, e := range r.Event.Entity {
			for _, x := range e.Detail {
				parts[x.Type], _ = base64.StdEncoding.DecodeString(x.Bytes)
			}
		}
		if parts["signature"] == nil {
			continue
		}
		cert, err := x509.ParseCertificate(parts["certificate"])
		if err != nil {
			d.t.Fatal(err)
		}
		sum := sha256.Sum256(parts["statement"])
		if err := proof.Check(cert.PublicKey, parts["signed"], parts["signature"]); err != nil || !strings.Contains(string(parts["signed"]), string(sum[:])) ||
			!strings.Contains(string(parts["statement"]), reason) || cert.Subject.SerialNumber != "1" {
			d.t.Errorf("statement %s, %v", parts["statement"], err)
		}
		return
	}
	d.t.Errorf("no signature in %s", body)
}

// A patient says with the PIN who may not see the record; it holds at once and
// after a kill; nobody else says it.
func TestConsent(t *testing.T) {
	d, beside := couple(t)
	if err := beside.Insert(d.patient("1001")); err != nil {
		t.Fatal(err)
	}
	d.until("the patient", func(c *wire.Card) bool { return len(c.Sessions) == 1 })
	login := func(pin string) answer {
		return d.call(d.ws, "/v1/login", "", fmt.Sprintf(`{"room":%q,"card":"patient","pin":%q}`, room, pin))
	}
	d.refused(login("111111"), http.StatusUnauthorized, "wrong-pin")
	time.Sleep(1100 * time.Millisecond)
	a := login(rightPIN)
	if a.Status != http.StatusOK || a.Session.Role != wire.RolePatient || strings.Contains(a.Session.Subject, "1001") {
		t.Fatalf("got %+v", a)
	}
	const deny = `{"resourceType":"Consent","status":"active","provision":{"type":"deny","actor":[{"reference":{"reference":"Practitioner/1"}}]}}`
	if code, body := d.send("PUT", "/v1/consent", a.Token, strings.Replace(deny, "active", "draft", 1)); code != http.StatusBadRequest {
		t.Errorf("a draft: %d %s", code, body)
	}
	if code, body := d.send("PUT", "/v1/consent", a.Token, deny); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, body)
	}
	said := func(c *wire.Card) bool { return len(c.Consents) == 1 && c.Consents[0].Who[0] == "Practitioner/1" }
	d.until("the narrowing", said)
	if code, body := d.send("GET", "/v1/consent", a.Token, ""); code != http.StatusOK || body != deny {
		t.Errorf("%d %s", code, body)
	}
	d.kill()
	d.launch()
	d.serves()
	d.until("the narrowing, and nobody logged in with a PIN", func(c *wire.Card) bool {
		return said(c) && c.PID == d.program.Process.Pid && len(c.Sessions) == 1 && !c.Sessions[0].PIN
	})
	if err := d.slot.Insert(d.doctor("1")); err != nil {
		t.Fatal(err)
	}
	d.until("the doctor's card", state("Virtual PCD 00 00", wire.ReaderCard))
	doctor := d.mustLogin()
	if code, body := d.send("DELETE", "/v1/consent", doctor.Token, ""); code != http.StatusForbidden {
		t.Errorf("a doctor takes a consent back: %d %s", code, body)
	}
	a = login(rightPIN)
	if code, body := d.send("DELETE", "/v1/consent", a.Token, ""); code != http.StatusNoContent {
		t.Fatalf("%d %s", code, body)
	}
	d.until("no narrowing", func(c *wire.Card) bool { return len(c.Consents) == 0 })
}
