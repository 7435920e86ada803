package config

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
)

func TestWorkstations(t *testing.T) {
	cert := func(unit, name string) *x509.Certificate {
		return &x509.Certificate{Subject: pkix.Name{OrganizationalUnit: []string{unit}, CommonName: name}}
	}
	named := "[[card.workstation]]\nname = \"ws-1\"\nrooms = [\"consulting-1\"]\n"
	for name, c := range map[string]struct {
		site string
		cert *x509.Certificate
		room string
		want bool
	}{
		"any workstation":   {"", cert("workstation", "ws-9"), "consulting-1", true},
		"a cart":            {"", cert("modality", "ws-9"), "consulting-1", false},
		"named":             {named, cert("workstation", "ws-1"), "consulting-1", true},
		"another room":      {named, cert("workstation", "ws-1"), "consulting-2", false},
		"not named":         {named, cert("workstation", "ws-9"), "consulting-1", false},
		"named, but a cart": {named, cert("modality", "ws-1"), "consulting-1", false},
	} {
		conf, err := parse(strings.Replace(example(t), "[[card.reader]]", c.site+"[[card.reader]]", 1))
		if err != nil {
			t.Fatal(err)
		}
		if got := conf.Workstations.Admits(c.cert, c.room); got != c.want {
			t.Errorf("%s: admitted %v, want %v", name, got, c.want)
		}
	}
	for want, bad := range map[string]string{
		"card.workstation[0].name: got nothing":           "[[card.workstation]]\nrooms = [\"consulting-1\"]\n",
		"card.workstation[0].rooms: got none":             "[[card.workstation]]\nname = \"a\"\n",
		`card.workstation[0].rooms: room "cellar" has no`: "[[card.workstation]]\nname = \"a\"\nrooms = [\"cellar\"]\n",
		`card.workstation[1].name: "ws-1" is there twice`: named + named,
	} {
		if _, err := parse(strings.Replace(example(t), "[[card.reader]]", bad+"[[card.reader]]", 1)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
