package config

import (
	"os"
	"strings"
	"testing"

	"clinicgate/firmware/site"
)

func parse(t *testing.T, text string) (Config, error) {
	t.Helper()
	f, err := site.Parse("site.toml", []byte("[site]\nname = \"P\"\ncode = \"ES-1\"\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return Parse(f)
}

func TestParse(t *testing.T) {
	c, err := parse(t, "")
	if err != nil || c.Listen != ":443" || c.Plain != ":80" || c.Records != "" || len(c.Names) != 2 {
		t.Errorf("without a section: %+v, %v", c, err)
	}
	c, err = parse(t, "[panel]\nlisten = \"10.20.0.1:444\"\nplain = \"\"\nnames = [\"gate.example\"]\nrecords = \"https://gateway.internal:8447/fhir/R4/\"\n")
	if err != nil || c.Listen != "10.20.0.1:444" || c.Plain != "" || c.Names[2] != "gate.example" || c.Records != "https://gateway.internal:8447/fhir/R4" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestExample(t *testing.T) {
	text, err := os.ReadFile("../../../docs/site.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := site.Parse("site.example.toml", text)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := Parse(f); err != nil || c.Listen != ":443" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"listen = \"443\"":                     "site.toml:5: panel.listen: got \"443\", want",
		"listen = \"\"":                        "panel.listen",
		"listen = \":99999\"":                  "panel.listen",
		"plain = \"x\"":                        "panel.plain",
		"names = [\"Gate.example\"]":           "panel.names: got \"Gate.example\"",
		"names = [\"a/b\"]":                    "panel.names",
		"records = \"http://x/\"":              "panel.records: got \"http://x/\", want sync.apps.base",
		"records = \"https://x/; script-src\"": "panel.records",
		"colour = \"red\"":                     "colour",
	} {
		if c, err := parse(t, "[panel]\n"+text+"\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %+v, %v; want %q", text, c, err, want)
		}
	}
}
