package config

import (
	"strings"
	"testing"
	"time"
)

const patientsCards = "[card.patients]\nanchors = [\"patients.pem\"]\npolicy = \"1.2.3\"\n"

// with adds sections behind those of the example.
func with(t *testing.T, sections string) (Config, error) {
	t.Helper()
	return parse(strings.Replace(example(t), "# ---- syncd: records", sections+"\n# ---- syncd: records", 1))
}

func TestPatientsAndCare(t *testing.T) {
	c, err := with(t, "[[card.reader]]\nmatch = \"Omnikey\"\nroom = \"consulting-1\"\nfor = \"patients\"\n"+patientsCards+
		"[card.care]\nwindow = \"1h\"\nemergencies_per_day = 2\nreads = \"care\"\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Readers) != 2 || !c.Readers[1].Patients || c.Patients.Policy.String() != "1.2.3" {
		t.Errorf("got %+v, %+v", c.Readers, c.Patients)
	}
	if want := (Care{time.Hour, 30 * time.Minute, 15 * time.Minute, 2, true}); c.Care != want {
		t.Errorf("got %+v, want %+v", c.Care, want)
	}
	plain, err := parse(example(t))
	if err != nil || plain.Patients != nil || plain.Care != (Care{4 * time.Hour, 30 * time.Minute, 15 * time.Minute, 10, false}) {
		t.Errorf("by default: %+v, %v", plain.Care, err)
	}
}

func TestPatientsAndCareRefused(t *testing.T) {
	beside := "[[card.reader]]\nmatch = \"Omnikey\"\nroom = \"consulting-1\"\n"
	for sections, want := range map[string]string{
		beside + "for = \"patients\"\n":                                                "card.reader[1].for: patients' cards are not set up",
		beside + "for = \"visitors\"\n":                                                `card.reader[1].for: got "visitors"`,
		"[card.patients]\nanchors = []\npolicy = \"1.2.3\"\n":                          "card.patients.anchors: got none",
		"[card.patients]\nanchors = [\"../x\"]\npolicy = \"1.2.3\"\n":                  `card.patients.anchors: got "../x"`,
		"[card.patients]\nanchors = [\"p.pem\"]\npolicy = \"x\"\n":                     `card.patients.policy: got "x"`,
		"[card.patients]\nanchors = [\"p.pem\"]\npolicy = \"1.3.6.1.4.1.99999.1.1\"\n": "card.patients.policy: got the professionals'",
		"[card.care]\nwindow = \"2d\"\n":                                               "card.care.window: got",
		"[card.care]\nemergency = \"5h\"\n":                                            "card.care.emergency: got",
		"[card.care]\nresume = \"-1s\"\n":                                              "card.care.resume: got",
		"[card.care]\nemergencies_per_day = 1000\n":                                    "card.care.emergencies_per_day: got 1000",
		"[card.care]\nreads = \"all\"\n":                                               `card.care.reads: got "all"`,
	} {
		if _, err := with(t, sections); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q in it", sections, err, want)
		}
	}
}
