package consent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"clinicgate/firmware/wire"
)

const deny = `{"resourceType":"Consent","status":"active","scope":{"coding":[{"code":"patient-privacy"}]},"category":[{}],
 "provision":{"type":"deny","actor":[{"role":{},"reference":{"reference":"Practitioner/1"}},{"reference":{"reference":"Practitioner/1"}}]}}`

func TestParse(t *testing.T) {
	if r, err := Parse([]byte(deny)); err != nil || !reflect.DeepEqual(r, Rule{false, []string{"Practitioner/1"}}) {
		t.Errorf("got %+v, %v", r, err)
	}
	if r, err := Parse([]byte(strings.Replace(deny, "deny", "permit", 1))); err != nil || !r.Only {
		t.Errorf("got %+v, %v", r, err)
	}
	for name, body := range map[string]string{
		"not JSON":          "x",
		"another resource":  `{"resourceType":"Patient"}`,
		"draft":             strings.Replace(deny, "active", "draft", 1),
		"no type":           strings.Replace(deny, "deny", "", 1),
		"nobody":            strings.Replace(deny, `[{"role":{},"reference":{"reference":"Practitioner/1"}},{"reference":{"reference":"Practitioner/1"}}]`, "[]", 1),
		"everybody":         strings.Replace(deny, "Practitioner/1", "Group/all", 1),
		"for some data":     strings.Replace(deny, `"type":"deny"`, `"type":"deny","dataPeriod":{"start":"2020"}`, 1),
		"for a while":       strings.Replace(deny, `"type":"deny"`, `"type":"deny","period":{"end":"2020"}`, 1),
		"but for":           strings.Replace(deny, `"type":"deny"`, `"type":"deny","provision":[]`, 1),
		"with an extension": strings.Replace(deny, `"status"`, `"modifierExtension":[],"status"`, 1),
		"two":               deny + deny,
	} {
		if r, err := Parse([]byte(body)); err == nil {
			t.Errorf("%s: got %+v", name, r)
		}
	}
}

func TestBook(t *testing.T) {
	path := filepath.Join(t.TempDir(), "consents.json")
	b, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Set("ana", []byte(deny)); err != nil {
		t.Fatal(err)
	}
	want := []wire.Consent{{Patient: "ana", Who: []string{"Practitioner/1"}}}
	again, err := Open(path)
	if err != nil || !reflect.DeepEqual(again.Wire(), want) {
		t.Fatalf("after a stop: %+v, %v", again.Wire(), err)
	}
	if err := again.Set("ana", []byte("{}")); err == nil || !reflect.DeepEqual(again.Wire(), want) {
		t.Fatalf("after nonsense: %+v, %v", again.Wire(), err)
	}
	if body, ok := again.Get("ana"); !ok || strings.ContainsAny(string(body), "\n") {
		t.Errorf("got %s", body)
	}
	if err := again.Set("ana", nil); err != nil || again.Wire() != nil {
		t.Fatalf("taken back: %+v, %v", again.Wire(), err)
	}
	if third, err := Open(path); err != nil || third.Wire() != nil {
		t.Fatalf("taken back, after a stop: %v", err)
	}
}

// What can't be kept is not in force, and what can't be read is no reason to go on
// without it.
func TestBookOnABadDisk(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(filepath.Join(dir, "gone", "consents.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Set("ana", []byte(deny)); err == nil || b.Wire() != nil {
		t.Errorf("in force though not kept: %v", err)
	}
	path := filepath.Join(dir, "consents.json")
	for _, text := range []string{"{", `{"ana":{}}`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		lost, err := Open(path)
		if err == nil || !lost.Lost() {
			t.Errorf("%s was read", text)
		}
		if err := lost.Set("ana", []byte(deny)); !errors.Is(err, ErrLost) {
			t.Errorf("a lost book took a word: %v", err)
		}
		if data, _ := os.ReadFile(path); string(data) != text {
			t.Errorf("the file was replaced: %s", data)
		}
		if err := os.WriteFile(path, []byte(`{"luis":`+deny+`}`), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := lost.Read(); err != nil || lost.Lost() || len(lost.Wire()) != 1 {
			t.Errorf("brought back: %v", err)
		}
	}
	for i := range maxPatients {
		b.said[fmt.Sprint(i)] = []byte(deny)
	}
	if err := b.Set("one more", []byte(deny)); !errors.Is(err, ErrFull) {
		t.Errorf("got %v, want ErrFull", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(deny))
	f.Fuzz(func(t *testing.T, body []byte) {
		if r, err := Parse(body); err == nil && (len(r.Who) == 0 || len(r.Who) > maxActors) {
			t.Fatalf("%+v", r)
		}
	})
}
