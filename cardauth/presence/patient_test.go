package presence

import (
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"clinicgate/cardauth/config"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/proof"
	"clinicgate/cardauth/session"
	"clinicgate/cardauth/trust"
	"clinicgate/firmware/lab/pivcard"
	"clinicgate/firmware/lab/pki"
)

// beside adds a reader for patients to room a.
func beside(b *bench) {
	b.states = append(b.states, pcsc.State{Reader: "reader P 00"}, pcsc.State{Reader: "reader P PICC 01"})
	b.clinic.Readers = append(b.clinic.Readers, config.Reader{Match: "reader P", Room: "a", Patients: true})
	b.clinic.Pseudonym = func(number string) string { return "p-" + number }
	b.clinic.Rules = session.Rules{}
	b.clinic.machine = session.New(session.Rules{Doctor: "doctor", Window: time.Hour, Emergency: time.Minute, PerDay: 1})
	of := func(role string) func(*x509.Certificate, time.Time) (trust.Holder, error) {
		return func(c *x509.Certificate, _ time.Time) (trust.Holder, error) {
			if c.Subject.CommonName != role {
				return trust.Holder{}, trust.ErrIssuer
			}
			return trust.Holder{Role: role, Registration: c.Subject.SerialNumber, Key: sha256.Sum256(c.RawSubjectPublicKeyInfo)}, nil
		}
	}
	b.clinic.Holder, b.clinic.Patient = of("doctor"), of("patient")
}

// person makes a card with certificates for all its keys, whose name is the role.
func (b *bench) person(role, number string) *pivcard.Card {
	b.t.Helper()
	c, err := pivcard.New(rightPIN)
	if err != nil {
		b.t.Fatal(err)
	}
	w, err := pki.New(time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, slot := range []byte{0x9A, 0x9C, 0x9E} {
		der, err := w.Professionals.CardCertificate(pki.Person{Name: role, Registration: number, Profession: pki.Doctor}, slot, c.Public(slot))
		if err == nil {
			err = c.PutCertificate(slot, der)
		}
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return c
}

func (b *bench) care() []session.Care {
	b.clinic.mu.Lock()
	defer b.clinic.mu.Unlock()
	return b.clinic.machine.Care()
}

// A patient's card is present without a PIN; with the doctor's session beside it
// there is care, which outlives the patient's card and not the doctor's.
func TestPatientBesideDoctor(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.put("reader P 00", b.person("patient", "7"), false)
		if got := b.clinic.machine.Sessions(); len(got) != 1 || got[0].Patient != "p-7" || got[0].PIN || got[0].Subject != "patient:p-7" {
			t.Fatalf("sessions %+v", got)
		}
		time.Sleep(time.Minute)
		b.put("reader A 00", b.person("doctor", "1"), false)
		s := b.mustLogin("a")
		if got := b.care(); len(got) != 1 || got[0].Session != s.ID || got[0].Basis != session.Present || got[0].Patient != "p-7" {
			t.Fatalf("care %+v", got)
		}
		b.put("reader P 00", nil, false)
		if got := b.care(); len(got) != 1 || got[0].Basis != session.Window {
			t.Fatalf("care without the patient's card: %+v", got)
		}
		b.put("reader A 00", nil, false)
		if got := b.care(); len(got) != 0 {
			t.Fatalf("care without the doctor's: %+v", got)
		}
	}, beside)
}

// A patient with a PIN acts; one who mistypes is still there.
func TestPatientWithPIN(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.put("reader P 00", b.person("patient", "7"), false)
		in := session.Login{Room: "a", Patient: true, PIN: []byte("111111"), CertHash: "ws"}
		if _, err := b.clinic.Login(t.Context(), in); err == nil {
			t.Fatal("a wrong PIN was taken")
		}
		if got := b.clinic.machine.Sessions(); len(got) != 1 || got[0].PIN {
			t.Fatalf("after a wrong PIN: %+v", got)
		}
		time.Sleep(time.Second)
		in.PIN = []byte(rightPIN)
		s, err := b.clinic.Login(t.Context(), in)
		if err != nil || !s.PIN || s.Role != "patient" || s.Patient != "p-7" {
			t.Fatalf("got %+v, %v", s, err)
		}
		time.Sleep(time.Minute)
		if !b.lives(s) {
			t.Fatal("the session did not live on its card")
		}
		if !b.clinic.Logout(s.ID) {
			t.Fatal("no logout")
		}
		time.Sleep(time.Millisecond)
		if got := b.clinic.machine.Sessions(); len(got) != 1 || got[0].PIN {
			t.Fatalf("after the logout: %+v", got)
		}
	}, beside)
}

// Each card at the other's place opens nothing, and a doctor's card proves no
// presence by the key that wants no PIN.
func TestAttackWrongPlace(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		doctor, patient := b.person("doctor", "1"), b.person("patient", "7")
		b.put("reader P 00", doctor, false)
		b.put("reader A 00", patient, false)
		if got := b.clinic.machine.Sessions(); len(got) != 0 {
			t.Fatalf("sessions %+v", got)
		}
		if _, refusal := b.login("a", rightPIN); refusal == nil || refusal.Kind != session.Untrusted {
			t.Fatalf("a patient's card in the doctor's reader: %v", refusal)
		}
		in := session.Login{Room: "a", Patient: true, PIN: []byte(rightPIN), CertHash: "ws"}
		if s, err := b.clinic.Login(t.Context(), in); err == nil {
			t.Fatalf("a doctor's card in the patients' reader: %+v", s)
		}
		if doctor.Tries() != 3 || patient.Tries() != 3 {
			t.Error("a PIN was tried")
		}
	}, beside)
}

// A card in a pocket, near the contactless half of a reader, is not present.
func TestAttackContactlessSkim(t *testing.T) {
	bubble(t, func(t *testing.T, b *bench) {
		b.put("reader P PICC 01", b.person("patient", "7"), false)
		time.Sleep(time.Minute)
		if got := b.clinic.machine.Sessions(); len(got) != 0 {
			t.Fatalf("sessions %+v", got)
		}
		// At the doctor's place that key opens nothing by itself either.
		b.put("reader A 00", b.person("doctor", "1"), false)
		time.Sleep(time.Minute)
		if got := b.clinic.machine.Sessions(); len(got) != 0 {
			t.Fatalf("sessions without a PIN: %+v", got)
		}
		b.mustLogin("a")
		if got := b.clinic.at(seat{"a", false}).card.use; got != proof.Authentication {
			t.Errorf("a doctor's session lives on the key for %v", got)
		}
	}, func(b *bench) {
		beside(b)
		b.states = b.states[:len(b.states)-2]
		b.states = append(b.states, pcsc.State{Reader: "reader P PICC 01"})
	})
}
