package plan

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/site"
	"clinicgate/netd/config"
)

var rewrite = flag.Bool("rewrite", false, "write what the plan is into testdata")

func example(t *testing.T) config.Config {
	t.Helper()
	data, err := os.ReadFile("../../docs/site.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := site.Parse("site.toml", data)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGolden plans for the example site in the situations of testdata/*.txt. The
// first lines of a file say the situation, one uplink a line: name, state, and
// where it has one its address and gateway; "current NAME" is the uplink in use
// before. The rest is the plan.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			c := example(t)
			given, _, _ := strings.Cut(string(text), "\n\n")
			ups, current := situation(t, c, given)
			active := Active(c, ups, current)
			got := fmt.Sprintf("%s\n\nactive %d\n%s", given, active, Make(c, ups, active))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if got != string(text) {
				t.Errorf("got:\n%s\nwant:\n%s", got, text)
			}
		})
	}
}

func situation(t *testing.T, c config.Config, text string) ([]Uplink, int) {
	t.Helper()
	var ups []Uplink
	current := -1
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if f[0] == "current" {
			for i, u := range c.Uplinks {
				if u.Name == f[1] {
					current = i
				}
			}
			continue
		}
		u := Uplink{State: f[1]}
		if len(f) > 2 {
			u.Address, u.Gateway = netip.MustParsePrefix(f[2]), netip.MustParseAddr(f[3])
		}
		ups = append(ups, u)
	}
	return ups, current
}

func TestSameInputSamePlan(t *testing.T) {
	c := example(t)
	ups, _ := situation(t, c, "a up 100.64.1.100/24 100.64.1.1\nb up 198.51.100.2/24 198.51.100.1")
	if a, b := Make(c, ups, 0).String(), Make(c, ups, 0).String(); a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

func TestMarksAndTablesAreDistinct(t *testing.T) {
	seen := map[uint32]bool{}
	for i := range 8 {
		if m := Mark(i); m&^MarkMask != 0 || m == 0 || seen[m] {
			t.Errorf("mark of uplink %d: %#x", i, m)
		}
		seen[Mark(i)] = true
		if Table(i) == tableMain {
			t.Errorf("table of uplink %d is main", i)
		}
	}
}
