package dataset

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"io"
	"math/big"
	"os"
	"reflect"
	"testing"
)

func TestMetaRoundTrip(t *testing.T) {
	want := Meta{Class: "1.2.840.10008.5.1.4.1.1.9.1.1", Instance: "1.2.3.45", Syntax: "1.2.840.10008.1.2.1"}
	file := append(want.Append(nil), "rest"...)
	src := bytes.NewReader(file)
	got, head, err := ReadMeta(src)
	if err != nil || got != want {
		t.Fatalf("got %+v, %v", got, err)
	}
	rest, _ := io.ReadAll(src)
	if string(rest) != "rest" || !reflect.DeepEqual(append(head, rest...), file) {
		t.Fatal("header and rest are not the file")
	}
	if len(ImplementationClassUID) > 64 || len(ImplementationVersion) > 16 {
		t.Error("names longer than the standard has room for")
	}
}

func TestImplementationUIDIsDerived(t *testing.T) {
	url := []byte("\x6b\xa7\xb8\x11\x9d\xad\x11\xd1\x80\xb4\x00\xc0\x4f\xd4\x30\xc8") // RFC 9562 §6.6
	sum := sha1.Sum(append(url, "urn:clinicgate:dicom-implementation"...))
	uuid := sum[:16]
	uuid[6], uuid[8] = uuid[6]&0x0f|0x50, uuid[8]&0x3f|0x80
	if want := "2.25." + new(big.Int).SetBytes(uuid).String(); want != ImplementationClassUID {
		t.Errorf("got %s, want %s", ImplementationClassUID, want)
	}
}

func TestReadMetaOfRealFiles(t *testing.T) {
	for _, path := range files(t) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		m, _, err := ReadMeta(f)
		if _, ok := FindSyntax(m.Syntax); err != nil || !ok || m.Instance == "" {
			t.Errorf("%s: %+v, %v", path, m, err)
		}
	}
}

func FuzzReadMeta(f *testing.F) {
	f.Add(Meta{Class: "1.2", Instance: "1.2.3", Syntax: "1.2.840.10008.1.2"}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, head, err := ReadMeta(bytes.NewReader(b))
		if err == nil && (!bytes.HasPrefix(b, head) || m.Syntax == "") {
			t.Fatalf("%+v", m)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Fatal(err)
		}
	})
}
