package consult

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"clinicgate/syncd/fhir"
)

var zero = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)

func ref(s string) fhir.Ref {
	typ, id, _ := strings.Cut(s, "/")
	return fhir.Ref{Type: typ, ID: id}
}

// Each script tells what happens to one case, a line each: the minute, what
// happened, and behind "=>" the state and what is announced.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c := New("c1", ref("ServiceRequest/a"), []fhir.Ref{ref("ServiceRequest/a"), ref("Communication/own")}, ref("Patient/p"), true, zero)
			lines := bufio.NewScanner(f)
			for n := 1; lines.Scan(); n++ {
				line, want, ok := strings.Cut(lines.Text(), "=>")
				if !ok || strings.HasPrefix(line, "#") {
					continue
				}
				if got := step(t, &c, strings.Fields(line)); got != strings.TrimSpace(want) {
					t.Errorf("line %d: got %s, want%s", n, got, want)
				}
			}
		})
	}
}

func step(t *testing.T, c *Case, word []string) string {
	t.Helper()
	minute, err := strconv.Atoi(word[0])
	if err != nil || len(word) < 2 {
		t.Fatalf("%q: want a minute and what happens", word)
	}
	now := zero.Add(time.Duration(minute) * time.Minute)
	var said []Notice
	switch word[1] {
	case "queue":
		said = c.Queued(State(word[2]), now)
	case "reply":
		said = c.Found(ref(word[2]), word[3], len(word) > 4, now, now)
	case "status":
		said = c.Ended(word[2], now)
	case "asked":
		return fmt.Sprint(c.Asked(now))
	case "over":
		return fmt.Sprint(c.Over(now))
	default:
		t.Fatalf("what is %q?", word[1])
	}
	text := string(c.State)
	for _, n := range said {
		text += fmt.Sprintf(" said %s %d", n.State, n.Replies)
	}
	return text
}

func TestReadAnswer(t *testing.T) {
	a, err := ReadAnswer([]byte(`{"resourceType":"DiagnosticReport","id":"r1","meta":{"versionId":"3","lastUpdated":"2026-11-22T09:00:00Z"},"status":"final",
		"basedOn":[{"reference":"http://ehr/ServiceRequest/a/_history/1"}],"subject":{"reference":"Patient/p"},"result":[{"reference":"Observation/o"}],
		"media":[{"link":{"reference":"Media/m"}}],"presentedForm":[{"url":"Binary/b"},{"url":"https://elsewhere/x"}],"performer":[{"reference":"Practitioner/s"}]}`), "http://ehr")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.About) != 1 || a.About[0] != ref("ServiceRequest/a") || !a.Final || a.Version != "3" || a.Patient != ref("Patient/p") {
		t.Errorf("%+v", a)
	}
	if fmt.Sprint(a.Links) != "[Observation/o Media/m Binary/b]" {
		t.Errorf("links %v", a.Links)
	}
	for _, bad := range []string{`{`, `{"resourceType":"X"}`, `{"resourceType":"Task","id":"1","id":"2"}`} {
		if _, err := ReadAnswer([]byte(bad), ""); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func TestSince(t *testing.T) {
	a, b := &Case{Seen: zero}, &Case{Seen: zero.Add(time.Hour)}
	if got := Since([]*Case{b, a}); !got.Equal(zero.Add(-Overlap)) {
		t.Errorf("since %v", got)
	}
	if !Since([]*Case{a, {}}).IsZero() {
		t.Error("a case without replies must be asked about from the start")
	}
}

func FuzzReadAnswer(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Task","id":"1","focus":{"reference":"ServiceRequest/a"},"status":"completed"}`))
	f.Add([]byte(`{"resourceType":"DocumentReference","id":"1","context":{"related":[{"reference":"ServiceRequest/a"}]},"content":[{"attachment":{"url":"Binary/b"}}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := ReadAnswer(raw, "http://ehr")
		if err == nil && (a.Type == "" || len(a.Links) > maxLinks) {
			t.Fatalf("%+v", a)
		}
	})
}
