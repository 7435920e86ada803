package dimse

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"clinicgate/syncd/dataset"
)

// docs/devices.md is what a device is set up by; its tables are the code's.
func TestDevicesDocument(t *testing.T) {
	b, err := os.ReadFile("../../docs/devices.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(b)
	want := map[string][]string{}
	for _, s := range dataset.Syntaxes() {
		want["transfer syntax"] = append(want["transfer syntax"], s.Name+" "+s.UID)
	}
	for _, c := range dataset.Classes() {
		want["SOP class"] = append(want["SOP class"], c.Name+" "+c.UID)
	}
	for _, s := range []Status{Success, statusProcessing, statusBadInstance, statusNoClass, statusUnrecognized, statusMistyped,
		statusFull, statusMismatch, statusMalformed, statusConflict, statusUnsupported} {
		want["status"] = append(want["status"], s.String())
	}
	for head, rows := range want {
		cells := 2
		if head == "status" {
			cells = 1
		}
		if got := table(doc, head, cells); !slices.Equal(got, rows) {
			t.Errorf("%s: the document has\n%s\nthe code\n%s", head, strings.Join(got, "\n"), strings.Join(rows, "\n"))
		}
	}
	o := New(Options{}).opt
	for _, said := range []string{
		fmt.Sprintf("%d associations", o.Associations), fmt.Sprintf("PDUs of %d KiB", o.MaxPDU>>10),
		dataset.ImplementationClassUID, dataset.ImplementationVersion,
	} {
		if !strings.Contains(doc, said) {
			t.Errorf("the document doesn't say %q", said)
		}
	}
}

// table gives the first cells of each row of the table whose first heading is head.
func table(doc, head string, cells int) (rows []string) {
	_, rest, _ := strings.Cut(doc, "\n| "+head+" |")
	for i, line := range strings.Split(rest, "\n") {
		if i < 2 {
			continue // rest of the heading, ruler
		}
		if !strings.HasPrefix(line, "| ") {
			break
		}
		c := strings.Split(strings.Trim(line, "| "), " | ")
		rows = append(rows, strings.Join(c[:min(cells, len(c))], " "))
	}
	return rows
}
