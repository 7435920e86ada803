// Package osrelease knows the software release of the running system from the
// file the image carries. No program has it compiled in: a program whose code did
// not change is the same file in the next release, and an update leaves it alone.
package osrelease

import (
	"os"
	"strings"
)

// path is the system's description (os-release(5)).
const path = "/etc/os-release"

// Development is the release of programs that run outside an image.
const Development = "dev"

// Version is the release of this system.
func Version() string {
	text, err := os.ReadFile(path)
	if err != nil {
		return Development
	}
	return version(string(text))
}

func version(text string) string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		fields[key] = strings.Trim(value, `"`)
	}
	if fields["ID"] != "clinicgate" || fields["VERSION_ID"] == "" {
		return Development
	}
	return fields["VERSION_ID"]
}
