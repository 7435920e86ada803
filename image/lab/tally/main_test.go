package main

import (
	"errors"
	"io"
	"strings"
	"testing"
)

func tally(t *testing.T, events string) (string, int) {
	t.Helper()
	var out strings.Builder
	s := newSheet(&out)
	if err := s.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	code := s.close()
	return out.String(), code
}

func TestTally(t *testing.T) {
	for name, c := range map[string]struct {
		events string
		code   int
		want   []string
		not    string
	}{
		"good": {
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"chatter\n"}
{"Action":"attr","Package":"p","Test":"TestA","Key":"boots","Value":"image"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"pass","Package":"p","Elapsed":1.25}
{"Action":"skip","Package":"without"}
`,
			want: []string{"ok      1.2 s  p\n", "tests that booted the image: 1\n", "1 passed, 0 failed, 0 skipped\n"},
			not:  "chatter",
		},
		"failed": {
			events: `{"Action":"output","Package":"p","Test":"TestA","Output":"a_test.go:1: got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`,
			code: 1,
			want: []string{"FAIL p TestA\na_test.go:1: got 1, want 2\n", "FAIL    0.0 s  p\n", "0 passed, 1 failed"},
		},
		"panicked": {
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"panic: boom\n"}
{"Action":"fail","Package":"p"}
`,
			code: 1,
			want: []string{"panic: boom\n", "1 passed, 1 failed"},
		},
		"not built": {
			events: `{"ImportPath":"p","Action":"build-output","Output":"p.go:1: syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"pass","Package":"q","Test":"TestA"}
`,
			code: 1,
			want: []string{"p.go:1: syntax error\n", "1 passed, 1 failed"},
		},
		"skipped": {
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:9: lab: root\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
`,
			want: []string{"skipped p TestB: b_test.go:9: lab: root\n", "1 passed, 0 failed, 1 skipped"},
		},
		"nothing ran":  {code: 1, want: []string{"0 passed, 0 failed, 0 skipped"}},
		"not an event": {events: "go: no such tool\n", code: 1, want: []string{"go: no such tool\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			out, code := tally(t, c.events)
			if code != c.code {
				t.Errorf("exit %d, want %d", code, c.code)
			}
			for _, w := range c.want {
				if !strings.Contains(out, w) {
					t.Errorf("got %q, want %q in it", out, w)
				}
			}
			if c.not != "" && strings.Contains(out, c.not) {
				t.Errorf("output of a passed test is shown: %q", out)
			}
		})
	}
}

// A test that failed is run again, alone: it counts as passed if it does then, and is
// named. Neither a panic nor many failures are.
func TestAgain(t *testing.T) {
	failed := `{"Action":"fail","Package":"p","Test":"TestA/sub"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}
`
	passes := `{"Action":"pass","Package":"p","Test":"TestA"}
`
	many := ""
	for _, name := range []string{"A", "B", "C", "D"} {
		many += `{"Action":"fail","Package":"p","Test":"Test` + name + `"}` + "\n"
	}
	for name, c := range map[string]struct {
		first, second string
		code, runs    int
		want          string
	}{
		"passes":       {failed, passes, 0, 1, "2 passed, 0 failed, 0 skipped; failed at first and passed alone: p TestA\n"},
		"fails again":  {failed, failed, 1, 1, "0 passed, 2 failed, 0 skipped\n"},
		"does not run": {failed, "", 1, 1, "0 passed, 2 failed"},
		"is skipped":   {failed, `{"Action":"skip","Package":"p","Test":"TestA"}`, 1, 1, "0 passed, 2 failed"},
		"panicked":     {`{"Action":"fail","Package":"p"}`, passes, 1, 0, "0 passed, 1 failed"},
		"many":         {many, passes, 1, 0, "0 passed, 4 failed"},
		"none":         {passes, passes, 0, 0, "1 passed, 0 failed, 0 skipped\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			s, runs := newSheet(&out), 0
			err := errors.Join(s.read(strings.NewReader(c.first)), s.again(func(pkg, test string, read func(io.Reader) error) error {
				if runs++; pkg != "p" || test != "TestA" {
					t.Errorf("%s %s is run again", pkg, test)
				}
				return read(strings.NewReader(c.second))
			}))
			if code := s.close(); err != nil || code != c.code || runs != c.runs || !strings.Contains(out.String(), c.want) {
				t.Errorf("exit %d, %d runs, %v\n%s", code, runs, err, out.String())
			}
		})
	}
}
