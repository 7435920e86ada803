package main

import (
	"os"
	"path/filepath"
	"testing"

	"clinicgate/firmware/wire"
)

// Damaged stores don't stop cardauth: it says so, keeps closed what they guard, and
// goes on by itself when they are mended.
func TestDamagedStores(t *testing.T) {
	d := newDesk(t, func(d *desk) { d.spoil("state/consents.json", "{") })
	d.fault(faultConsents)
	d.until("consents lost", func(c *wire.Card) bool { return c.ConsentsLost })
	d.insert(d.card(d.world.Professionals, "1"))
	d.mustLogin()
	d.spoil("state/consents.json", "{}")
	d.until("consents back", func(c *wire.Card) bool { return !c.ConsentsLost && !hasFault(faultConsents)(c) })

	for _, name := range []string{"patient.key", "audit.key"} {
		path := filepath.Join(d.dir, "secrets", name)
		key, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d.kill()
		if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
			t.Fatal(err)
		}
		d.launch()
		d.fault(faultStore)
		if err := os.WriteFile(path, key, 0o600); err != nil {
			t.Fatal(err)
		}
		d.until(name+" back", func(c *wire.Card) bool { return !hasFault(faultStore)(c) && len(c.Readers) == 1 })
		d.serves()
	}
}

func (d *desk) spoil(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}
