package mapper

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The layout is the kernel's: where the next specification begins counts from
// this one's beginning, parameters end with a zero.
func TestEncode(t *testing.T) {
	got, err := encode([]Target{{"linear", 1024, "8:1 0"}, {"verity", 4096, strings.Repeat("p", 16)}})
	if err != nil {
		t.Fatal(err)
	}
	next := int(binary.NativeEndian.Uint32(got[20:]))
	if next%8 != 0 || next <= specSize+5 || next >= len(got) {
		t.Fatalf("the second specification begins at %d of %d", next, len(got))
	}
	for _, c := range []struct {
		at    int
		start uint64
		count uint64
		kind  string
		param string
	}{{0, 0, 2, "linear", "8:1 0"}, {next, 2, 8, "verity", strings.Repeat("p", 16)}} {
		spec := got[c.at:]
		if s, n := binary.NativeEndian.Uint64(spec), binary.NativeEndian.Uint64(spec[8:]); s != c.start || n != c.count {
			t.Errorf("%s: sectors %d+%d, want %d+%d", c.kind, s, n, c.start, c.count)
		}
		if kind := string(spec[24 : 24+len(c.kind)+1]); kind != c.kind+"\x00" {
			t.Errorf("kind %q", kind)
		}
		if p := string(spec[specSize : specSize+len(c.param)+1]); p != c.param+"\x00" {
			t.Errorf("%s: parameters %q", c.kind, p)
		}
	}
}

func TestBadTargets(t *testing.T) {
	for _, bad := range []Target{{"linear", 0, ""}, {"linear", 511, ""}, {"linear", -512, ""}, {strings.Repeat("k", 16), 512, ""}, {"linear", 512, "a\x00b"}} {
		if _, err := encode([]Target{bad}); err == nil {
			t.Errorf("%+v: taken", bad)
		}
	}
}

func TestNumber(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{file, file + ".none", "/dev/null"} {
		if n, err := Number(bad); err == nil {
			t.Errorf("%s is block device %s", bad, n)
		}
	}
}
