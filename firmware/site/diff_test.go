package site

import (
	"fmt"
	"strings"
	"testing"
)

func TestDiff(t *testing.T) {
	const head = "[site]\nname = \"Portillo\"\ncode = \"ES-VA-047\"\n"
	for name, c := range map[string]struct{ old, is, want string }{
		"the same, said otherwise": {"[net]\nlan = ['icmp']\nx = 1 # a comment\n", "[net]\n  x=1\nlan=[ \"icmp\" ]\n", ""},
		"another value":            {"[net]\nx = 1\n", "[net]\nx = 2\n", "net.x: 1 -> 2"},
		"one more":                 {"", "[net]\nx = true\n", "net.x:  -> true"},
		"one less":                 {"[net]\nx = 1.5\ny = \"a\"\n", "[net]\ny = \"a\"\n", "net.x: 1.5 -> "},
		"a list":                   {"[net]\nx = [\"a\"]\n", "[net]\nx = [\"a\", \"b\"]\n", `net.x: ["a"] -> ["a", "b"]`},
		"in a table of an array":   {"[[net.uplink]]\nname = \"a\"\n[[net.uplink]]\nname = \"b\"\n", "[[net.uplink]]\nname = \"a\"\n[[net.uplink]]\nname = \"c\"\n", `net.uplink[1].name: "b" -> "c"`},
		"an empty table":           {"", "[panel]\n", "panel:  -> {}"},
	} {
		old, err := Parse("old.toml", []byte(head+c.old))
		if err != nil {
			t.Fatal(err)
		}
		is, err := Parse("new.toml", []byte(head+c.is))
		if err != nil {
			t.Fatal(err)
		}
		changes, err := is.Diff(old)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, x := range changes {
			got = append(got, fmt.Sprintf("%s: %s -> %s", x.Key, x.Was, x.Is))
			if x.Section() != strings.FieldsFunc(x.Key, func(r rune) bool { return r == '.' })[0] {
				t.Errorf("%s: section %s", x.Key, x.Section())
			}
		}
		if strings.Join(got, "; ") != c.want {
			t.Errorf("%s: got %s, want %s", name, strings.Join(got, "; "), c.want)
		}
	}
}
