package tree

import (
	"errors"
	"strings"
	"testing"
)

func TestBytesStay(t *testing.T) {
	text := ` { "a" : [1.00, "x\u00e5", {"b":null}] ,"c": {"d":"here"} }`
	n, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(n.Get("a").Items()[0].Raw()); got != "1.00" {
		t.Errorf("number: %q", got)
	}
	if got := n.Get("a").Items()[1].Text(); got != "xå" {
		t.Errorf("text: %q", got)
	}
	d := n.Get("c", "d")
	if d.Text() != "here" || n.Get("c", "e") != nil || n.Get("a", "b") != nil || n.Get("c").Get() != n.Get("c") {
		t.Errorf("path: %q", d.Text())
	}
	got := string(n.Edited([]Edit{{d.Start, d.End, []byte(`"there"`)}, {n.Start + 1, n.Start + 1, []byte(`"id":1,`)}}))
	if want := `{"id":1, "a" : [1.00, "x\u00e5", {"b":null}] ,"c": {"d":"there"} }`; got != want {
		t.Errorf("edited: %s", got)
	}
	if got := string(n.Get("a").Edited([]Edit{{d.Start, d.End, []byte("no")}})); got != `[1.00, "x\u00e5", {"b":null}]` {
		t.Errorf("an edit outside counted: %s", got)
	}
	var names []string
	n.Walk(func(name string, v *Node) {
		if v.Text() != "" || v.Object() {
			names = append(names, name)
		}
	})
	if strings.Join(names, " ") != " a a c d" {
		t.Errorf("walked %q", names)
	}
}

func TestRefused(t *testing.T) {
	for name, text := range map[string]string{
		"twice":       `{"a":1,"a":2}`,
		"two cases":   `{"subject":1,"Subject":2}`,
		"twice below": `{"x":[{"a":1,"b":2,"a":3}]}`,
		"no end":      `{"a":[1`,
		"more":        `{} {}`,
		"nothing":     ``,
		"no comma":    `[1 2]`,
		"not UTF-8":   "{\"a\":\"\xff\"}",
		"too deep":    strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"too many":    "[" + strings.Repeat("1,", maxNodes) + "1]",
	} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrJSON) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What was taken reads the same after an edit that changes nothing.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"a":[1.00,"x",null,true,{}]}`, ` [ ] `, `"\ud83d\ude00"`, `{"a":{"a":{"a":1}}}`, `1e400`, `{"a":1,"A":2}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		n, err := Parse(text)
		if err != nil {
			return
		}
		n.Walk(func(_ string, v *Node) {
			if v.Start < n.Start || v.End > n.End || v.Start >= v.End {
				t.Fatalf("a node at %d to %d", v.Start, v.End)
			}
			v.Text()
		})
		if got := n.Edited([]Edit{{n.Start, n.Start, nil}}); string(got) != strings.TrimSpace(string(text)) && string(got) != string(n.Raw()) {
			t.Fatalf("changed: %q", got)
		}
	})
}
