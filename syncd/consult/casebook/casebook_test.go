package casebook

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/syncd/consult"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/vault"
)

func TestBook(t *testing.T) {
	v, err := vault.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	open := func() (*Book, int) {
		b, lost, err := Open(dir, v.Domain("consults"))
		if err != nil {
			t.Fatal(err)
		}
		return b, lost
	}
	b, _ := open()
	at := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	for i, id := range []string{"a", "b", "c"} {
		c := consult.New(id, fhir.Ref{Type: "ServiceRequest", ID: id}, nil, fhir.Ref{Type: "Patient", ID: "secret"}, true, at.Add(time.Duration(i)))
		if err := b.Save(c); err != nil {
			t.Fatal(err)
		}
	}
	one := b.Cases()[2]
	one.Queued(consult.Sent, at)
	one.Found(fhir.Ref{Type: "Communication", ID: "x"}, "1", false, at, at)
	if err := b.Save(one); err != nil {
		t.Fatal(err)
	}
	if err := b.Forget("b"); err != nil {
		t.Fatal(err)
	}
	b, lost := open()
	if all := b.Cases(); lost != 0 || len(all) != 2 || all[0].ID != "c" || all[1].State != consult.Answered || len(all[1].Replies) != 1 {
		t.Fatalf("%d lost, %+v", lost, all)
	}

	// A file is sealed to its case: swapped or bent it is none, and the rest stays.
	files, err := filepath.Glob(dir + "/*")
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	first, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(first, []byte("secret")) || bytes.Contains(first, []byte("ServiceRequest")) {
		t.Error("a case lies there open")
	}
	if err := os.WriteFile(files[1], first, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".half.tmp"), first[:10], 0o600); err != nil {
		t.Fatal(err)
	}
	if b, lost = open(); lost != 1 || len(b.Cases()) != 1 {
		t.Errorf("%d lost, %d cases", lost, len(b.Cases()))
	}
}
