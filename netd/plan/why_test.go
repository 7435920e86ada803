package plan

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"clinicgate/firmware/site"
	"clinicgate/netd/config"
)

// TestWhy plays testdata/why/*.txt. First the site's classes and changes of the
// example ("class NAME MATCH..." in TOML), then the situation as in TestGolden, then
// questions ("why SRC DST [PROTO[/PORT]] [dscp N]"), each with its answer below it,
// written anew by -rewrite.
func TestWhy(t *testing.T) {
	files, err := filepath.Glob("testdata/why/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("files: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := playWhy(t, string(text))
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

func playWhy(t *testing.T, text string) string {
	toml, rest, _ := strings.Cut(text, "---\n")
	given, questions, _ := strings.Cut(rest, "\n\n")
	data, err := os.ReadFile("../../docs/site.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := site.Parse("site.toml", append(data, "\n"+toml...))
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	ups, current := situation(t, c, given)
	active := Active(c, ups, current)
	out := toml + "---\n" + given + "\n\n"
	for line := range strings.Lines(questions) {
		if strings.HasPrefix(line, "\t") {
			continue
		}
		out += line
		q := strings.Fields(line)
		if len(q) == 0 || q[0] != "why" {
			continue
		}
		w := Why(c, ups, active, []string{"reason a", "reason b"}, flow(q[1:]))
		out += fmt.Sprintf("\t%s %s %v\n", w.Kind, w.Name, w.Uplinks)
		for _, s := range append(w.Why, w.Others...) {
			out += "\t" + s + "\n"
		}
		out += fmt.Sprintf("\tmark %s, rule %d: %s\n", w.Mark, w.Rule, w.Route)
	}
	return out
}

func flow(q []string) Flow {
	f := Flow{Src: netip.MustParseAddr(q[0]), Dst: netip.MustParseAddr(q[1])}
	for i, word := range q[2:] {
		if word == "dscp" {
			_, _ = fmt.Sscan(q[i+3], &f.DSCP) // the script's author sees the answer
			break
		}
		proto, port, _ := strings.Cut(word, "/")
		f.Proto = proto
		_, _ = fmt.Sscan(port, &f.Port) // none is 0
	}
	return f
}
