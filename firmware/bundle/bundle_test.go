package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

func keyPair(t *testing.T) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestThereAndBack(t *testing.T) {
	id := keyPair(t)
	to, err := Recipient(id.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	b, err := New(&out, to, Manifest{Site: "ES-VA-047", Made: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	long := append(bytes.Repeat([]byte("old\n"), maxEntry/4), "latest\n"...)
	for name, text := range map[string][]byte{"log/netd.log": long, "status.txt": []byte("fine\n")} {
		if err := b.Add(name, text); err != nil {
			t.Fatal(err)
		}
	}
	b.Lack("metrics/syncd.txt", errors.New("ask syncd: refused"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(out.Bytes(), []byte("latest")) || !bytes.HasPrefix(out.Bytes(), []byte("age-encryption.org/v1\n")) {
		t.Error("the bundle is not encrypted")
	}
	dir := filepath.Join(t.TempDir(), "b")
	list, err := Open(bytes.NewReader(out.Bytes()), id.String(), dir)
	if err != nil || list.Site != "ES-VA-047" || len(list.Entries) != 2 || len(list.Lacks) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, e := range list.Entries {
		if strings.HasPrefix(e.Name, "log/") && (e.Cut != 7 || e.Bytes != maxEntry) {
			t.Errorf("%+v: want its end", e)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "log/netd.log")); err != nil || !bytes.HasSuffix(text, []byte("latest\n")) {
		t.Errorf("%v: %d bytes", err, len(text))
	}
	if _, err := Open(bytes.NewReader(out.Bytes()), keyPair(t).String(), filepath.Join(t.TempDir(), "c")); err == nil {
		t.Error("another key opens it")
	}
	if _, err := Open(bytes.NewReader(out.Bytes()[:out.Len()-40]), id.String(), filepath.Join(t.TempDir(), "d")); err == nil {
		t.Error("a bundle that was broken off opens")
	}
	if _, err := Recipient("age1nobody"); err == nil {
		t.Error("no key was taken for one")
	}
}

// TestFull: a box that says too much still makes a bundle of bounded size.
func TestFull(t *testing.T) {
	var out bytes.Buffer
	b, err := New(&out, keyPair(t).Recipient(), Manifest{})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := b.Add("log/netd.log", make([]byte, maxEntry+1)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Close(); err != nil || b.left != 0 {
		t.Errorf("%v, %d bytes left", err, b.left)
	}
}

// TestHostile: what somebody else packed can't leave its folder.
func TestHostile(t *testing.T) {
	id := keyPair(t)
	for name, h := range map[string]*tar.Header{
		"out":     {Name: "../x", Typeflag: tar.TypeReg},
		"rooted":  {Name: "/etc/x", Typeflag: tar.TypeReg},
		"hidden":  {Name: "a/../../x", Typeflag: tar.TypeReg},
		"a link":  {Name: "x", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"},
		"no list": {Name: "x", Typeflag: tar.TypeReg},
	} {
		var out bytes.Buffer
		sealed, err := age.Encrypt(&out, id.Recipient())
		if err != nil {
			t.Fatal(err)
		}
		zip := gzip.NewWriter(sealed)
		files := tar.NewWriter(zip)
		if err := errors.Join(files.WriteHeader(h), files.Close(), zip.Close(), sealed.Close()); err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if _, err := Open(&out, id.String(), filepath.Join(dir, "in")); err == nil {
			t.Errorf("%s: opened", name)
		}
		if entries, _ := os.ReadDir(dir); len(entries) > 1 {
			t.Errorf("%s: it wrote beside its folder", name)
		}
	}
}

// TestNobodyIsNamed: people of the lab's records, in every shape in which programs
// write them.
func TestNobodyIsNamed(t *testing.T) {
	log := `{"msg":"x","err":"C-STORE of GARCIA LOPEZ^MARIA^^ refused"}
{"msg":"get http://10.98.1.10/fhir/R4/Patient/abc-642341/_history: 500"}
{"msg":"GET /fhir/R4/Patient?identifier=642341&_count=5 and ?name:exact=Garc%C3%ADa"}
{"err":"post https://anna:hunter2@store.example/: no"}
{"err":"Authorization: Bearer abcdef0123456789.x"}
{"err":"token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiI0NzExIn0.c2ln"}
{"err":"12345678Z and X1234567L and 19811218-9876 and 811218-9876"}
{"err":"Practitioner/282864711 wrote"}
`
	got := string(Text([]byte(log)))
	for _, who := range []string{"GARCIA", "MARIA", "642341", "Garc", "hunter2", "abcdef0123456789", "eyJzdWIi", "12345678Z", "X1234567L", "811218", "282864711"} {
		if strings.Contains(got, who) {
			t.Errorf("%s is named:\n%s", who, got)
		}
	}
	for _, kept := range []string{"10.98.1.10", "Patient/" + Struck, "store.example", "_count=5", "500"} {
		if !strings.Contains(got, kept) {
			t.Errorf("%q is struck too:\n%s", kept, got)
		}
	}
	plain := `{"time":"2026-11-22T16:42:03.024123077Z","level":"INFO","msg":"packets to the hub","uplink":"isp-a","sha256":"5f0c926a171dc238be7188985905eac3"}`
	if got := string(Text([]byte(plain))); got != plain {
		t.Errorf("an innocent line is changed: %s", got)
	}
}

func TestWireFiles(t *testing.T) {
	text, err := os.ReadFile("../wire/testdata/cardauth.json")
	if err != nil {
		t.Fatal(err)
	}
	got := string(JSON(text))
	for _, who := range []string{"4711", "282864711", "q4m0fC1cJ1m7pQv2yQ2kSg", "s-3f2a", "f83OJ3D2xF1"} {
		if strings.Contains(got, who) {
			t.Errorf("%s is named:\n%s", who, got)
		}
	}
	if !strings.Contains(got, `"role": "doctor"`) || !strings.Contains(got, `"room": "consulting-1"`) {
		t.Errorf("too much is struck:\n%s", got)
	}
	if got := string(JSON([]byte("{half"))); strings.Contains(got, "half") {
		t.Errorf("broken JSON is passed on: %s", got)
	}
}

func TestSite(t *testing.T) {
	got := string(Site([]byte("peer_key = \"xTIBA5r=\"\nkey = \"hub.key\"\npsk = \"c2VjcmV0\"\npassword = 'hunter2'\nurl = \"http://u:p4ss@x/\"\n# token = \"t0p\"\nname = \"Portillo\" # key = of the house\n")))
	for _, secret := range []string{"c2VjcmV0", "hunter2", "p4ss", "t0p"} {
		if strings.Contains(got, secret) {
			t.Errorf("%s is there:\n%s", secret, got)
		}
	}
	for _, kept := range []string{"xTIBA5r=", "hub.key", "Portillo"} {
		if !strings.Contains(got, kept) {
			t.Errorf("%s is struck:\n%s", kept, got)
		}
	}
}

func FuzzStrike(f *testing.F) {
	f.Add([]byte(`{"sub":"x","err":"A^B"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		JSON(text)
		Site(text)
		if once := Text(text); bytes.Contains(once, []byte("GARCIA^")) {
			t.Errorf("%q", once)
		}
	})
}
