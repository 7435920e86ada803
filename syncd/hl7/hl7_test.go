package hl7

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// live is a message of the files, for production as a sender would say it.
func live(t testing.TB, name string) string {
	return strings.Replace(read(t, name), "|T|2.5", "|P|2.5", 1)
}

func TestReal(t *testing.T) {
	m, err := Parse([]byte(live(t, "ORU-R01-01.hl7")))
	if err != nil {
		t.Fatal(err)
	}
	if m.From[0] != "IA PHIMS Stage^2.16.840.1.114222.4.3.3.5.1.2^ISO" || m.Control != "2.16.840.1.114222.4.3.3.5.1.2-20120314235954.325" ||
		m.Type != "ORU" || m.Event != "R01" || m.Version != "2.5.1" || m.Accept != "AL" || m.App != "NE" {
		t.Errorf("%+v", m)
	}
	if m.Patient != (Patient{ID: "14", Issuer: "IA PHIMS Stage", Name: "Finn^Huckleberry", Birth: "19630815", Sex: "M"}) || m.Deviation != "segments end with LF" {
		t.Errorf("%+v, %q", m.Patient, m.Deviation)
	}
	m, err = Parse([]byte(live(t, "LAB-ORU-1.hl7")))
	if err != nil || m.Patient != (Patient{ID: "10006579", Name: "DUCK^DONALD", Birth: "19241010", Sex: "M", Issuer: "1"}) || !strings.Contains(m.Deviation, "byte order mark") || m.Control != "182" {
		t.Errorf("%+v, %v", m, err)
	}
	var e *Error
	if _, err := Parse([]byte(read(t, "LAB-ORU-1.hl7"))); !errors.As(err, &e) || e.Code != 202 {
		t.Errorf("for training: %v", err)
	}
	if m, err := Parse([]byte(read(t, "ADT-A40-01.hl7"))); err != nil || m.Type != "ADT" || m.Accept != "NE" {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestText(t *testing.T) {
	for charset, c := range map[string]struct{ raw, want string }{
		"":              {`Mu\F\ller\S\\T\\E\`, `Mu|ller^&\`},
		"8859/1":        {"M\xfcller", "Müller"},
		"UNICODE UTF-8": {"Müller\xff", "Müller\uFFFD"},
	} {
		m, err := Parse([]byte("MSH|^~\\&|A|B|||||ORU^R01|1|P|2.5||||||" + charset + "\rPID|||x||" + c.raw + "^\r"))
		if err != nil || m.Patient.Name != c.want+"^" {
			t.Errorf("%q: %q, %v", charset, m.Patient.Name, err)
		}
	}
}

func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		code int
	}{
		"no control id":   {"MSH|^~\\&|A|B|C|D|||ORU^R01||P|2.5\rPID|\r", 101},
		"no type":         {"MSH|^~\\&|A|B|C|D||||1|P|2.5\rPID|\r", 101},
		"version 3":       {"MSH|^~\\&|A|B|C|D|||ORU|1|P|3\rPID|\r", 203},
		"alone":           {"MSH|^~\\&|A|B|C|D|||ORU|1|P|2.5\r", 100},
		"not a segment":   {"MSH|^~\\&|A|B|C|D|||ORU|1|P|2.5\rnonsense\r", 100},
		"other separator": {"MSH|^~\\&|A|B|C|D|||ORU|1|P|2.5\rPID#1\r", 100},
	} {
		var e *Error
		if _, err := Parse([]byte(c.text)); !errors.As(err, &e) || e.Code != c.code {
			t.Errorf("%s: got %v, want code %d", name, err, c.code)
		}
	}
	for _, text := range []string{"", "MSH", "PID|1", "MSH|^~", "MSH|^~\\|", "MSH\r^~\\&|", "MSH|^~\\&" + strings.Repeat("x", 50000)} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrNoHeader) {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

// Table 0155 against the three outcomes.
func TestCode(t *testing.T) {
	for _, c := range []struct{ accept, app, want string }{
		{"", "", "AA AE AR"}, {"AL", "NE", "CA CE CR"}, {"AL", "AL", "CA CE CR"}, {"NE", "AL", "AA AE AR"}, {"NE", "NE", "  "},
		{"ER", "", " CE CR"}, {"SU", "", "CA  "}, {"ER", "AL", "AA CE CR"}, {"", "ER", " AE AR"}, {"??", "", "CA CE CR"},
	} {
		m := Message{Accept: c.accept, App: c.app}
		if got := m.Code(Accepted) + " " + m.Code(Failed) + " " + m.Code(Rejected); got != c.want {
			t.Errorf("%q %q: got %q, want %q", c.accept, c.app, got, c.want)
		}
	}
}

func TestAck(t *testing.T) {
	now := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	m, err := Header([]byte("MSH#*~\\&#A*1#B#C#D#2026##ORU*R01#7#P#2.5.1\r"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(m.Ack("CA", "id", nil, now)), "MSH#*~\\&#C#D#A*1#B#20261122080000+0000##ACK*R01*ACK#id#P#2.5.1\rMSA#CA#7\r"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	why := &Error{200, "no # here\r"}
	if got, want := string(m.Ack("CR", "id", why, now)), "ERR###200**HL70357#E####no   here \r"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q at its end", got, want)
	}
	m.Version = "2.3"
	if got, want := string(m.Ack("AR", "id", why, now)), "MSA#AR#7#no   here \r"; !strings.HasSuffix(got, want) {
		t.Errorf("got %q, want %q at its end", got, want)
	}
	if got := string(Message{}.Ack("AR", "id", why, now)); !strings.HasPrefix(got, "MSH|^~\\&|") {
		t.Errorf("for no header: %q", got)
	}
}

// Whatever comes: no panic, an acknowledgement that is a message itself.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"ORU-R01-01.hl7", "LAB-ORU-1.hl7", "ADT-A40-01.hl7"} {
		f.Add([]byte(live(f, name)))
	}
	f.Add([]byte("MSH000000"))
	f.Add([]byte("MSH+!\"#$%"))
	f.Add([]byte("MSH|^~\\&|||||||^^|1|P|2.5|||AL\rPID|||\\F\\\r"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil && m.Field == 0 {
			return
		}
		ack, aerr := Header(m.Ack("AA", "id", &Error{100, "why"}, time.Unix(0, 0)))
		if !errors.Is(err, ErrNoHeader) && (aerr != nil || ack.Control != "id" || ack.Type != "ACK") {
			t.Fatalf("ack of %q: %+v, %v", b, ack, aerr)
		}
	})
}
