package main

import (
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
