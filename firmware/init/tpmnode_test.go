package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A TPM that its driver gave up is given to it again, and no other is touched.
func TestIdleTPM(t *testing.T) {
	for name, c := range map[string]struct {
		dirs []string
		want string // device that is bound; empty: none is idle
	}{
		"no TPM":             {[]string{"bus/acpi/devices/PNP0C0A:00", "bus/acpi/drivers/tpm_crb"}, ""},
		"given up, on ACPI":  {[]string{"bus/acpi/devices/MSFT0101:00", "bus/acpi/drivers/tpm_crb"}, "MSFT0101:00"},
		"works":              {[]string{"bus/acpi/devices/MSFT0101:00/driver", "bus/acpi/drivers/tpm_crb"}, ""},
		"works, as platform": {[]string{"bus/acpi/devices/MSFT0101:00", "bus/platform/devices/MSFT0101:00/driver", "bus/platform/drivers/tpm_crb"}, ""},
	} {
		sys := t.TempDir()
		for _, d := range c.dirs {
			if err := os.MkdirAll(filepath.Join(sys, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		drivers, _ := filepath.Glob(filepath.Join(sys, "bus/*/drivers/*"))
		for _, d := range drivers {
			if err := os.WriteFile(filepath.Join(d, "bind"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		idle := idleTPM(sys)
		if idle == "" {
			if c.want != "" {
				t.Errorf("%s: none is idle", name)
			}
			continue
		}
		if err := bindTPM(sys, "tpm_crb", idle); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if got, err := os.ReadFile(filepath.Join(drivers[0], "bind")); err != nil || string(got) != c.want {
			t.Errorf("%s: bound %q, want %q (%v)", name, got, c.want, err)
		}
		if err := bindTPM(sys, "tpm_tis", idle); err == nil || !strings.Contains(err.Error(), "no driver tpm_tis") {
			t.Errorf("%s: another driver: %v", name, err)
		}
	}
}
