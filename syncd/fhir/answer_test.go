package fhir

import (
	"testing"
	"time"
)

func TestParsePolicy(t *testing.T) {
	for _, c := range []struct {
		control, age string
		want         Policy
	}{
		{"", "", Policy{MaxAge: -1}},
		{"no-store", "", Policy{NoStore: true, MaxAge: -1}},
		{"No-Store, max-age=5", "", Policy{NoStore: true, MaxAge: 5 * time.Second}},
		{"private", "", Policy{NoStore: true, MaxAge: -1}},
		{"max-age=60", "20", Policy{MaxAge: 40 * time.Second}},
		{"max-age=60", "90", Policy{MaxAge: 0}},
		{"max-age=x", "", Policy{MaxAge: 0}},
		{"no-cache, max-age=60", "", Policy{Revalidate: true, MaxAge: 0}},
		{"max-age=60, no-cache", "", Policy{Revalidate: true, MaxAge: 0}},
		{"max-age=60, must-revalidate", "", Policy{Revalidate: true, MaxAge: time.Minute}},
		{"s-maxage=10, max-age=60", "", Policy{Revalidate: true, MaxAge: 10 * time.Second}}, // RFC 9111 §5.2.2.10
	} {
		if got := ParsePolicy(c.control, c.age); got != c.want {
			t.Errorf("%q age %q: got %+v, want %+v", c.control, c.age, got, c.want)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add("max-age=60, must-revalidate", "5")
	f.Fuzz(func(t *testing.T, control, age string) {
		if p := ParsePolicy(control, age); p.MaxAge < -1 {
			t.Fatalf("%+v", p)
		}
	})
}
