package phrase

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var verb = regexp.MustCompile(`%[ds%]`)

// Every language says everything, with the same holes in the same order.
func TestComplete(t *testing.T) {
	for id, said := range words {
		for i, s := range said {
			if s == "" {
				t.Errorf("%s: nothing in %s", id, Langs[i])
			}
			if !slices.Equal(verb.FindAllString(s, -1), verb.FindAllString(said[1], -1)) {
				t.Errorf("%s: %q in %s, %q in English", id, s, Langs[i], said[1])
			}
			if strings.Count(s, "|") != strings.Count(said[1], "|") {
				t.Errorf("%s: %q and %q: one has a plural and the other not", id, s, said[1])
			}
		}
	}
	for id, said := range advice {
		for i, s := range said {
			if s[0] == "" || s[1] == "" || !strings.HasSuffix(s[1], ".") || strings.HasSuffix(s[0], ".") {
				t.Errorf("advice %q in %s: %q", id, Langs[i], s)
			}
		}
	}
}

// What the page asks for is there, and what is there is asked for.
func TestUsed(t *testing.T) {
	var text strings.Builder
	for _, pattern := range []string{"../*.go", "../view/*.go", "../serve/*.go", "../serve/*.html", "*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if strings.HasSuffix(f, "_test.go") || filepath.Base(f) == "words.go" {
				continue
			}
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text.Write(data)
		}
	}
	for _, m := range regexp.MustCompile(`(?:\.(?:Text|Count)\(|\bt )"([a-z.]+)"([ +])?`).FindAllStringSubmatch(text.String(), -1) {
		if _, ok := words[m[1]]; !ok && !strings.HasSuffix(m[1], ".") {
			t.Errorf("%q is said and not in the table", m[1])
		}
	}
	for id := range words {
		kind, _, _ := strings.Cut(id, ".")
		if !strings.Contains(text.String(), `"`+id+`"`) && !strings.Contains(text.String(), `"`+kind+`."`) {
			t.Errorf("%q is in the table and never said", id)
		}
	}
}

func TestAccepted(t *testing.T) {
	for header, want := range map[string]Lang{
		"":                                  EN,
		"sv":                                SV,
		"es-ES,es;q=0.9,en;q=0.8":           ES,
		"de-DE,de;q=0.9,sv;q=0.3,en;q=0.2":  SV,
		"en;q=0.1, es;q=0.2":                ES,
		"fr, de":                            EN,
		"sv;q=nonsense, es;q=0.5":           ES,
		"sv;q=7":                            EN,
		"sv;q=0":                            EN,
		"*":                                 EN,
		strings.Repeat("x,", 200000) + "sv": EN,
		"SV-fi":                             SV,
		";;;q=;,,":                          EN,
	} {
		if got := Accepted(header); got != want {
			t.Errorf("%.40q: got %s, want %s", header, got, want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{SV.Count("queue.ecg", 1), "1 EKG väntar"},
		{EN.Count("queue.ecg", 2), "2 ECGs waiting"},
		{ES.Count("queue.file", 0), "0 archivos en espera"},
		{EN.Span(-time.Hour), "0 s"},
		{EN.Span(59 * time.Second), "50 s"},
		{EN.Span(4*time.Minute + 59*time.Second), "4 min"},
		{SV.Span(47 * time.Hour), "47 tim"},
		{ES.Span(50 * time.Hour), "2 días"},
		{EN.Size(0), "0 kB"}, {EN.Size(1), "1 kB"}, {ES.Size(1500000), "1,5 MB"}, {EN.Size(2e9), "2.0 GB"},
		{EN.List(nil), ""}, {EN.List([]string{"A"}), "A"}, {ES.List([]string{"A", "B", "C"}), "A, B y C"},
		{Lang("xx").Text("and"), "and"}, {EN.Text("no such words"), "no such words"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestAdvice(t *testing.T) {
	for id, want := range map[string]string{
		"uplink.no-link":    "An internet line is unplugged",
		"uplink.nolink":     "An internet line fails",
		"sync.disk-full":    "There is little room left for uploads",
		"card.lists-stale":  "The list of revoked cards is old",
		"pair.two-masters":  "The two boxes do not agree",
		"never.heard-of":    "Something needs a technician",
		"":                  "Something needs a technician",
		"uplink.no-link.zz": "An internet line is unplugged",
	} {
		if got, do := EN.Advice(id); got != want || do == "" {
			t.Errorf("%s: got %q, %q", id, got, do)
		}
	}
}

func FuzzAccepted(f *testing.F) {
	f.Add("es-ES,es;q=0.9,en;q=0.8")
	f.Fuzz(func(t *testing.T, header string) {
		if _, ok := Find(string(Accepted(header))); !ok {
			t.Errorf("%q gives a language that is none", header)
		}
	})
}
