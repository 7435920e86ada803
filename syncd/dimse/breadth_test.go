package dimse

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"clinicgate/firmware/lab"
	"clinicgate/syncd/dataset"
)

// A stock sender gets every class that is taken through, and one that is not is
// turned away: one file as each of them.
func TestEveryClass(t *testing.T) {
	t.Parallel()
	lab.Require(t, lab.Program("storescu", "dcmodify"))
	n := start(t, nil)
	dir := t.TempDir()
	source, err := os.ReadFile(testdata + "ct_small.dcm")
	if err != nil {
		t.Fatal(err)
	}
	as := func(class string, i int) string {
		path := filepath.Join(dir, fmt.Sprintf("%d.dcm", i))
		if err := os.WriteFile(path, source, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.CommandContext(t.Context(), "dcmodify", "-nb", "-gin", "-m", "0008,0016="+class, path).CombinedOutput()
		if err != nil {
			t.Fatalf("dcmodify: %v\n%s", err, out)
		}
		return path
	}
	var want []string
	for i, class := range dataset.Classes() {
		if class.UID == "1.2.840.10008.5.1.4.1.1.9.1.4" {
			continue // of 2019: dcmtk 3.6.7 does not know it
		}
		want = append(want, class.UID)
		if out, err := n.run(t, "storescu", with(titles, "-R", "-xe", as(class.UID, i))...); err != nil {
			t.Errorf("%s: %v\n%s", class.UID, err, out)
		}
	}
	var got []string
	for _, it := range n.queue.Items() {
		m, _ := stored(t, it)
		got = append(got, m.Class)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	if out, err := n.run(t, "storescu", with(titles, "-R", "-xe", as("1.2.840.10008.5.1.4.1.1.128", 99))...); err == nil || len(n.queue.Items()) != len(want) {
		t.Errorf("a PET image was taken: %v\n%s", err, out)
	}
}
