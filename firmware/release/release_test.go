package release

import (
	"strings"
	"testing"
)

const board = "qemu-x86_64"

var good = `{"version":"1.0","board":"qemu-x86_64","images":{` +
	image("root") + "," + image("a.efi") + "," + image("b.efi") + `}}`

func image(name string) string {
	return `"` + name + `":{"file":"` + name + `.img","verity":"` + strings.Repeat("5a", 32) + `:2","length":5000,"sha256":"` + strings.Repeat("00", 32) + `"}`
}

func TestParse(t *testing.T) {
	r, err := Parse([]byte(good), board, "1.0")
	if err != nil || r.Images["root"].Length != 5000 {
		t.Fatalf("got %+v, %v", r, err)
	}
	for _, c := range []struct{ from, to, want string }{
		{`"version":"1.0"`, `"version":"1.1"`, "want qemu-x86_64, 1.0"},
		{`"board":"qemu-x86_64"`, `"board":"toaster"`, `got one for board "toaster"`},
		{`"b.efi":`, `"c.efi":`, "lacks the image b.efi"},
		{`"length":5000`, `"length":4096`, "want one that fills 2 blocks"},
		{`"length":5000`, `"length":1073741825`, "want 1073741824 at most"},
		{`"length":5000`, `"length":8193`, "want one that fills 2 blocks"},
		{`:2"`, `:0"`, "blocks"},
		{`"file":"root.img"`, `"file":"../root.img"`, "file: got"},
		{strings.Repeat("00", 32), "00", "want 64 hexadecimal digits"},
		{"{", "[", "release 1.0"},
		{`"images"`, `"documents":{"../bom.json":""},"images"`, "document: got"},
		{`"images"`, `"documents":{"bom.json":"cafe"},"images"`, "document bom.json: got"},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		if _, err := Parse([]byte(text), board, "1.0"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.to, err, c.want)
		}
	}
}

func TestParseRing(t *testing.T) {
	if r, err := ParseRing([]byte(`{"version":"1.0","percent":5}`)); err != nil || r != (Ring{Version: "1.0", Percent: 5}) {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, bad := range []string{`{`, `{"version":"1.0","percent":101}`, `{"version":"1.0","percent":-1}`, `{"version":"../1"}`, `{"version":"a..b"}`, `{"version":""}`} {
		if r, err := ParseRing([]byte(bad)); err == nil {
			t.Errorf("%s: got %+v", bad, r)
		}
	}
}

// A kernel image that no system partition could hold is refused before it is fetched.
func TestParseBoundsTheKernel(t *testing.T) {
	text := strings.Replace(good, image("a.efi"), strings.NewReplacer(":2\"", ":16385\"", "5000", "67108865").Replace(image("a.efi")), 1)
	if _, err := Parse([]byte(text), board, "1.0"); err == nil || !strings.Contains(err.Error(), "image a.efi: length: got 67108865, want 67108864 at most") {
		t.Errorf("got %v", err)
	}
}

func TestName(t *testing.T) {
	for got, ok := range map[string]bool{
		"1.4.0": true, "qemu-x86_64": true, "A": true, strings.Repeat("x", 64): true,
		"": false, ".": false, "-x": false, "_x": false, "a..b": false, "a/b": false, "a b": false, "a\x1b[2J": false, "é": false, strings.Repeat("x", 65): false,
	} {
		if err := Name("version", got); (err == nil) != ok {
			t.Errorf("%q: got %v", got, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":"1","board":"b","images":{"root":{"file":"root.img","verity":"00:1","length":1,"sha256":""}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if r, err := Parse(text, board, "1"); err == nil && (r.Board != board || len(r.Images) < 3) {
			t.Errorf("%s: %+v", text, r)
		}
		_, _ = ParseRing(text)
	})
}
