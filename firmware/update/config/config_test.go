package config

import (
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/site"
	"clinicgate/firmware/update/turn"
)

const head = "[site]\nname = \"P\"\ncode = \"ES-1\"\n"

func parse(t *testing.T, text string) (Config, error) {
	t.Helper()
	f, err := site.Parse("site.toml", []byte(head+text))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(f)
}

func TestParse(t *testing.T) {
	c, err := parse(t, "[update]\ndepot = \"http://10.98.1.20/depot\"\nring = \"early\"\nevery = \"10m\"\nhours = [\"02:00-04:30\", \"22:00-24:00\"]\n")
	if err != nil {
		t.Fatal(err)
	}
	if c.Depot.String() != "http://10.98.1.20/depot" || c.Ring != "early" || c.Every != 10*time.Minute || len(c.Windows) != 2 ||
		c.Windows[0] != (turn.Window{From: 2 * time.Hour, To: 4*time.Hour + 30*time.Minute}) {
		t.Errorf("got %+v", c)
	}
	if c, err := parse(t, ""); err != nil || c.Depot != nil {
		t.Errorf("without a section: %+v, %v", c, err)
	}
}

func TestRefusals(t *testing.T) {
	const depot = "[update]\ndepot = \"http://d/\"\n"
	for text, want := range map[string]string{
		"[update]\ndepot = \"ftp://d/\"\n":       "site.toml:5: update.depot: got \"ftp://d/\"",
		"[update]\nring = \"all\"\n":             "update.depot: got \"\"",
		depot + "ring = \"../x\"\n":              "site.toml:6: update.ring",
		depot + "every = \"1ms\"\n":              "site.toml:6: update.every: got 1ms",
		depot + "hours = [\"2-4\"]\n":            "site.toml:6: update.hours: got \"2-4\"",
		depot + "hours = [\"02:00-25:00\"]\n":    "update.hours",
		depot + "hours = [\"02:00-04:00:00\"]\n": "update.hours",
		depot + "colour = \"red\"\n":             "colour",
	} {
		if c, err := parse(t, text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %+v, %v; want %q", text, c, err, want)
		}
	}
}
