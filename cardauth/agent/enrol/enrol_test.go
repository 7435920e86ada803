package enrol

import (
	"errors"
	"strings"
	"testing"
)

func TestCode(t *testing.T) {
	c := NewCode()
	if c == NewCode() {
		t.Fatal("two codes are the same")
	}
	text := c.String()
	for _, typed := range []string{text, strings.ToLower(text), strings.ReplaceAll(text, "-", ""), "  " + strings.ReplaceAll(text, "-", " ") + "\n", strings.ReplaceAll(text, "0", "o"), strings.ReplaceAll(text, "1", "l")} {
		if got, err := ParseCode(typed); err != nil || got != c {
			t.Errorf("%q: got %v, %v, want %v", typed, got, err, c)
		}
	}
	for _, bad := range []string{"", "ABCD", text + "A", text[:18] + "U", strings.Repeat("A", 1000)} {
		if _, err := ParseCode(bad); !errors.Is(err, ErrCode) {
			t.Errorf("%q: got %v, want ErrCode", bad, err)
		}
	}
}

// A message counts for its code, connection and contents only.
func TestAttackEnrolmentInTheMiddle(t *testing.T) {
	code, ours, theirs := NewCode(), []byte("one connection"), []byte("the other one")
	q := Request{CSR: []byte("csr")}
	q.Seal(code, ours)
	if !q.Check(code, ours) {
		t.Fatal("the request itself is refused")
	}
	if q.Check(code, theirs) {
		t.Error("a request passed on over another connection counts")
	}
	if q.Check(NewCode(), ours) {
		t.Error("a request of another code counts")
	}
	swapped := q
	swapped.CSR = []byte("another key")
	if swapped.Check(code, ours) {
		t.Error("a request with its key exchanged counts")
	}
	a := Reply{Room: "r", Certificate: []byte("c"), Gateway: []byte("g")}
	a.Seal(code, ours)
	if !a.Check(code, ours) || a.Check(code, theirs) {
		t.Error("the reply does not count for its own connection alone")
	}
	moved := Reply{Room: "rc", Certificate: nil, Gateway: []byte("g"), MAC: a.MAC}
	if moved.Check(code, ours) {
		t.Error("bytes moved from one part of the reply to the next")
	}
	reflected := Reply{MAC: q.MAC}
	if reflected.Check(code, ours) {
		t.Error("the workstation's own message counts as the gateway's")
	}
}
