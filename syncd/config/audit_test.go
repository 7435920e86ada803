package config

import (
	"strings"
	"testing"
	"time"
)

func TestAudit(t *testing.T) {
	with := func(more string) (Config, error) {
		return parse(least + "[[sync.destination]]\nname = \"e\"\nkind = \"fhir\"\nurl = \"http://h/fhir\"\naccepts = [\"pdf\"]\n[sync.audit]\n" + more)
	}
	c, err := with(`to = "e"`)
	if a := c.Audit; err != nil || a == nil || a.To != "e" || a.Keep != 2*year || a.Bytes != 1<<30 || a.Late != day {
		t.Fatalf("got %+v %v", a, err)
	}
	c, err = with("to = \"e\"\nkeep = \"48h\"\nsize_mb = 16\nlate = \"1h\"")
	if a := c.Audit; err != nil || a.Keep != 48*time.Hour || a.Bytes != 16<<20 || a.Late != time.Hour {
		t.Fatalf("got %+v %v", a, err)
	}
	for text, want := range map[string]string{
		``: `sync.audit.to: got ""`, `to = "x"`: `sync.audit.to: got "x"`,
		"to = \"e\"\nsize_mb = 1": "sync.audit.size_mb", "to = \"e\"\nkeep = \"1h\"": "sync.audit.keep", "to = \"e\"\nlate = \"1s\"": "sync.audit.late",
	} {
		if _, err := with(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
