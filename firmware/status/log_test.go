package status

import "testing"

func TestLogLine(t *testing.T) {
	for in, want := range map[string]string{
		`{"time":"2026-11-22T08:30:00.5Z","level":"INFO","msg":"role","program":"failoverd","group":"lan","why":"no link","n":3}`: `11-22 08:30:00 INFO  failoverd role group=lan n=3 why="no link"`,
		`{"a":1}`:                    `{"a":1}`,
		"\x1b[31mred":                "?[31mred",
		`{"msg":"x","k":""}`:         `                 x k=""`,
		`{"msg":"x","k":"\u001b\n"}`: `                 x k="\x1b\n"`,
	} {
		if got := LogLine(in); got != want {
			t.Errorf("%s\ngot  %q\nwant %q", in, got, want)
		}
	}
}

func FuzzLogLine(f *testing.F) {
	f.Add(`{"time":"2026-11-22T08:30:00.5Z","level":"INFO","msg":"role","x":[1,{"y":"z"}]}`)
	f.Add("\x1b[31m")
	f.Fuzz(func(t *testing.T, line string) {
		for _, r := range LogLine(line) {
			if r < ' ' || r > '~' {
				t.Fatalf("%q shows %q", line, r)
			}
		}
	})
}
