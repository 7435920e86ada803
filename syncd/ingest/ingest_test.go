package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/format"
	"clinicgate/syncd/ingest/memqueue"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
)

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const ecgFile = "../dataset/testdata/anonymous_12lead_1000Hz.dcm"

// announce reads a file as a sender would: its header becomes the announcement.
func announce(t testing.TB, path string) (Instance, []byte) {
	t.Helper()
	src := bytes.NewReader(read(t, path))
	m, _, err := dataset.ReadMeta(src)
	if err != nil {
		t.Fatal(err)
	}
	data, _ := io.ReadAll(src)
	return Instance{Class: m.Class, Instance: m.Instance, Syntax: m.Syntax, Origin: "ECGCART"}, data
}

func door() (*Door, *memqueue.Queue, *memqueue.Faults) {
	q, f := &memqueue.Queue{}, &memqueue.Faults{}
	return New(q, f), q, f
}

func refusal(t *testing.T, err error, want Reason) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Reason != want {
		t.Fatalf("got %v, want a refusal: %v", err, want)
	}
	return r
}

func TestInstanceBecomesAFile(t *testing.T) {
	d, q, _ := door()
	in, data := announce(t, ecgFile)
	if _, err := d.Instance(t.Context(), in, iotest.HalfReader(bytes.NewReader(data))); err != nil {
		t.Fatal(err)
	}
	it := q.Items()[0]
	src := bytes.NewReader(it.Body)
	m, _, err := dataset.ReadMeta(src)
	if err != nil || m != (dataset.Meta{Class: in.Class, Instance: in.Instance, Syntax: in.Syntax}) {
		t.Errorf("header: %+v, %v", m, err)
	}
	if rest, _ := io.ReadAll(src); !bytes.Equal(rest, data) {
		t.Error("the data set was changed")
	}
	if it.Key != "dicom:"+in.Instance || it.Lane != lane.Stat || it.Kind != "dicom" || it.Origin != "ECGCART" || it.Meta[queue.MetaStudyUID] == "" {
		t.Errorf("item: %+v", it.Item)
	}
}

// A DICOM file from elsewhere is kept with its own header.
func TestDICOMFile(t *testing.T) {
	d, q, _ := door()
	body := read(t, ecgFile)
	if _, err := d.File(t.Context(), Source{Origin: "ecg-1", Via: "mqtt"}, body); err != nil {
		t.Fatal(err)
	}
	if it := q.Items()[0]; !bytes.Equal(it.Body, body) || !strings.HasPrefix(it.Key, "dicom:") || it.Lane != lane.Stat {
		t.Errorf("item: %+v", it.Item)
	}
}

// A real file whose header names another instance than its data set.
func TestDICOMFileWithAnotherHeader(t *testing.T) {
	d, q, _ := door()
	body := read(t, "../dataset/testdata/hemodynamic_12ch_240Hz.dcm")
	if _, err := d.File(t.Context(), Source{Origin: "ecg-1", Via: "mqtt"}, body); err != nil {
		t.Fatal(err)
	}
	it := q.Items()[0]
	if it.Key != "dicom:1.3.6.1.4.1.6018.3.999" || it.Meta[MetaDeviation] == "" || !bytes.Equal(it.Body, body) {
		t.Errorf("item: %+v", it.Item)
	}
}

func TestFiles(t *testing.T) {
	for path, want := range map[string]queue.Item{
		"ecgtoolkit_example.scp": {Kind: format.SCPECG, Lane: lane.Stat, Order: "patient:SBJ-123", Meta: map[string]string{
			queue.MetaPatientID: "SBJ-123", queue.MetaPatientName: "Clark", queue.MetaPatientBirth: "19530508", MetaPatientSex: "M"}},
		"healforce_62.scp":   {Kind: format.SCPECG, Lane: lane.Stat, Order: "patient:00000"},
		"fda_subject1_0.xml": {Kind: format.AECG, Lane: lane.Stat, Order: "patient:subject1"},
	} {
		d, q, _ := door()
		body := read(t, "../format/testdata/"+path)
		for range 2 { // the second is the same item
			if _, err := d.File(t.Context(), Source{Origin: "ecg-1", Via: "mqtt"}, body); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
		}
		items := q.Items()
		if len(items) != 1 {
			t.Fatalf("%s: %d items, want 1", path, len(items))
		}
		it := items[0]
		if it.Kind != want.Kind || it.Lane != want.Lane || it.Order != want.Order || !bytes.Equal(it.Body, body) || !strings.HasPrefix(it.Key, "mqtt:ecg-1:") {
			t.Errorf("%s: %+v", path, it.Item)
		}
		for k, v := range want.Meta {
			if it.Meta[k] != v {
				t.Errorf("%s: %s is %q, want %q", path, k, it.Meta[k], v)
			}
		}
		if strings.HasPrefix(path, "healforce") != (it.Meta[MetaDeviation] != "") {
			t.Errorf("%s: deviation %q", path, it.Meta[MetaDeviation])
		}
	}
}

// A file that names nobody is whose its sender states; one that does is not.
func TestStatedPatient(t *testing.T) {
	d, q, _ := door()
	pdf, scp := []byte("%PDF-1.4\n%\nxref\n0 1\ntrailer\n<<>>\nstartxref\n11\n%%EOF\n"), read(t, "../format/testdata/ecgtoolkit_example.scp")
	from := func(id string) Source {
		return Source{Origin: "desk-1", Via: "https", Patient: format.Patient{ID: id, Name: "Roe^Anna", Birth: "19700203"}}
	}
	for _, id := range []string{"7", "7", "8"} { // the same again, and a corrected statement
		if _, err := d.File(t.Context(), from(id), pdf); err != nil {
			t.Fatal(err)
		}
	}
	items := q.Items()
	if len(items) != 2 || items[0].Meta[queue.MetaPatientName] != "Roe^Anna" || items[0].Meta[queue.MetaPatientBirth] != "19700203" {
		t.Errorf("%d items, %+v", len(items), items[0].Item)
	}
	var no *Refusal
	if _, err := d.File(t.Context(), from("7"), scp); !errors.As(err, &no) || no.Reason != Mismatch {
		t.Errorf("another's ECG: %v", err)
	}
	if _, err := d.File(t.Context(), from("SBJ-123"), scp); err != nil {
		t.Errorf("the same's ECG: %v", err)
	}
}

func TestInstanceRefused(t *testing.T) {
	good, data := announce(t, ecgFile)
	_, ct := announce(t, "../dataset/testdata/ct_small.dcm")
	for name, c := range map[string]struct {
		spoil func(*Instance)
		data  []byte
		want  Reason
	}{
		"cut":              {nil, data[:len(data)-10], Malformed},
		"cut early":        {nil, data[:100], Malformed},
		"garbage":          {nil, []byte("this is no data set at all"), Malformed},
		"nothing":          {nil, nil, Mismatch},
		"another's data":   {nil, ct, Mismatch},
		"other class":      {func(in *Instance) { in.Class = "1.2.840.10008.5.1.4.1.1.2" }, data, Mismatch},
		"other instance":   {func(in *Instance) { in.Instance += ".1" }, data, Mismatch},
		"unknown class":    {func(in *Instance) { in.Class = "1.2.3" }, data, Unsupported},
		"unknown syntax":   {func(in *Instance) { in.Syntax = "1.2.3" }, data, Unsupported},
		"implicit instead": {func(in *Instance) { in.Syntax = "1.2.840.10008.1.2" }, data, Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			d, q, f := door()
			in := good
			if c.spoil != nil {
				c.spoil(&in)
			}
			_, err := d.Instance(t.Context(), in, bytes.NewReader(c.data))
			if r := refusal(t, err, c.want); !r.Permanent() {
				t.Error("a sender would try for ever")
			}
			if len(q.Items()) != 0 || len(f.List()) != 1 {
				t.Errorf("%d items, faults %v", len(q.Items()), f.List())
			}
			// The next good one ends the complaint.
			if _, err := d.Instance(t.Context(), good, bytes.NewReader(data)); err != nil || len(f.List()) != 0 {
				t.Errorf("after it: %v, faults %v", err, f.List())
			}
		})
	}
}

func TestTransientRefusals(t *testing.T) {
	in, data := announce(t, ecgFile)
	d, q, f := door()
	q.SetFull(true)
	_, err := d.Instance(t.Context(), in, bytes.NewReader(data))
	if refusal(t, err, Full).Permanent() {
		t.Error("full is for ever")
	}
	q.SetFull(false)
	q.SetError(memqueue.ErrDisk)
	_, err = d.Instance(t.Context(), in, bytes.NewReader(data))
	refusal(t, err, Failed)
	q.SetError(nil)
	gone := errors.New("association lost")
	_, err = d.Instance(t.Context(), in, io.MultiReader(bytes.NewReader(data[:len(data)/2]), iotest.ErrReader(gone)))
	if r := refusal(t, err, Failed); !errors.Is(r, gone) {
		t.Errorf("cause lost: %v", r.Err)
	}
	if len(q.Items()) != 0 || len(f.List()) != 0 {
		t.Errorf("%d items, faults %v", len(q.Items()), f.List())
	}
}

func TestSameIdentityOtherContent(t *testing.T) {
	in, data := announce(t, ecgFile)
	d, q, f := door()
	for range 2 {
		if _, err := d.Instance(t.Context(), in, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	other := bytes.Clone(data)
	other[len(other)-100] ^= 1 // inside a waveform
	_, err := d.Instance(t.Context(), in, bytes.NewReader(other))
	refusal(t, err, Conflict)
	items, faults := q.Items(), f.List()
	if len(items) != 1 || !bytes.HasSuffix(items[0].Body, data) {
		t.Error("the first was not kept as it was")
	}
	if len(faults) != 1 || faults[0].ID != faultConflict || strings.Contains(fmt.Sprint(faults), in.Instance) {
		t.Errorf("faults %v", faults)
	}
}

func TestFileRefusedAndHeld(t *testing.T) {
	d, q, _ := door()
	from := Source{Origin: "ecg-1", Via: "mqtt", Takes: []string{format.SCPECG}}
	_, err := d.File(t.Context(), from, []byte("garbage"))
	why := refusal(t, err, Malformed)
	_, err = d.File(t.Context(), from, read(t, "../format/testdata/fda_minimum_aecg.xml"))
	refusal(t, err, Unsupported)
	_, err = d.File(t.Context(), from, append(make([]byte, 128), "DICM"...))
	refusal(t, err, Unsupported)
	_, err = d.File(t.Context(), Source{Origin: "ecg-1", Via: "mqtt"}, append(make([]byte, 128), "DICM"...))
	refusal(t, err, Malformed)
	for range 2 {
		if _, err := d.Hold(t.Context(), from, []byte("garbage"), why); err != nil {
			t.Fatal(err)
		}
	}
	items := q.Items()
	if len(items) != 1 || items[0].Held == "" || items[0].Kind != Unrecognised || string(items[0].Body) != "garbage" {
		t.Errorf("items %+v", items)
	}
	q.SetFull(true)
	_, err = d.Hold(t.Context(), from, []byte("more"), why)
	refusal(t, err, Failed)
}

// A new name with each bad upload doesn't make a new fault for ever.
func TestFaultsAreBounded(t *testing.T) {
	d, _, f := door()
	places := map[string]bool{}
	for i := range 3 * maxNamed {
		_, err := d.File(t.Context(), Source{Origin: fmt.Sprintf("cart-%d", i), Via: "mqtt"}, []byte("garbage"))
		refusal(t, err, Malformed)
	}
	for _, n := range f.List() {
		places[n.Where] = true
	}
	if len(places) != maxNamed+1 {
		t.Errorf("faults name %d places, want %d", len(places), maxNamed+1)
	}
}

// Lane by class and size, the size being guessed before the data has come.
func TestBulk(t *testing.T) {
	in, data := announce(t, "../dataset/testdata/ct_small.dcm")
	at := bytes.Index(data, []byte("\xe0\x7f\x10\x00OW"))
	long := append(bytes.Clone(data[:at+8]), 0, 0, 0, 4) // 64 MiB announced
	d, q, _ := door()
	if _, err := d.Instance(t.Context(), in, io.MultiReader(bytes.NewReader(long), bytes.NewReader(make([]byte, 64<<20)))); err != nil {
		t.Fatal(err)
	}
	if it := q.Items()[0]; it.Lane != lane.Bulk || len(it.Body) < 64<<20 {
		t.Errorf("%v, %d bytes", it.Lane, len(it.Body))
	}
}

func TestPatientNamesInTheirCharacterSets(t *testing.T) {
	for file, want := range map[string]string{
		"charset_chrFren.dcm":  "Buc^Jérôme",
		"charset_chrGreek.dcm": "Διονυσιος",
		"charset_chrH31.dcm":   "Yamada^Tarou=山田^太郎=やまだ^たろう",
		"charset_chrX1.dcm":    "Wang^XiaoDong=王^小東=",
	} {
		d, q, _ := door()
		in, data := announce(t, "../dataset/testdata/"+file)
		if _, err := d.Instance(t.Context(), in, bytes.NewReader(data)); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if got := q.Items()[0].Meta[queue.MetaPatientName]; got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}

// Every defined term, one that no one defined, and none: ASCII stays ASCII.
func TestEveryCharacterSetReadsASCII(t *testing.T) {
	for _, set := range strings.Split("|ISO_IR 6|ISO 2022 IR 6|ISO_IR 13|ISO 2022 IR 13|ISO_IR 100|ISO 2022 IR 100|ISO_IR 101|"+
		"ISO 2022 IR 101|ISO_IR 109|ISO 2022 IR 109|ISO_IR 110|ISO 2022 IR 110|ISO_IR 126|ISO 2022 IR 126|ISO_IR 127|"+
		"ISO 2022 IR 127|ISO_IR 138|ISO 2022 IR 138|ISO_IR 144|ISO 2022 IR 144|ISO_IR 148|ISO 2022 IR 148|ISO 2022 IR 149|"+
		"ISO 2022 IR 159|ISO_IR 166|ISO 2022 IR 166|ISO 2022 IR 87|ISO 2022 IR 58|ISO_IR 192|GB18030|GBK|nonsense", "|") {
		if got := decode([]string{set}, []byte("Doe 1")); got != "Doe 1" {
			t.Errorf("%q: got %q", set, got)
		}
	}
}

func FuzzDecodeName(f *testing.F) {
	f.Add("ISO 2022 IR 6\\ISO 2022 IR 87", []byte("Yamada^Tarou=\x1b$B;3ED\x1b(B"))
	f.Fuzz(func(t *testing.T, sets string, v []byte) {
		decodeName(strings.Split(sets, `\`), v)
	})
}

// Refusals of malformed data never repeat what the data says.
func TestRefusalsQuoteNoPatient(t *testing.T) {
	in, data := announce(t, "../dataset/testdata/charset_chrFren.dcm")
	at := bytes.Index(data, []byte("PN"))
	binary.LittleEndian.PutUint16(data[at+2:], 60000) // the name's length
	d, _, f := door()
	_, err := d.Instance(t.Context(), in, bytes.NewReader(data))
	refusal(t, err, Malformed)
	if s := fmt.Sprint(err, f.List()); strings.Contains(s, "Buc") {
		t.Error(s)
	}
}
