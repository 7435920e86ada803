package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"
)

// part10 splits a file into its transfer syntax and data set.
func part10(t testing.TB, path string) (Syntax, []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Preamble, "DICM", then (0002,0000) UL 4 with the length of the rest of group 2.
	meta := 128 + 4 + 12 + int(binary.LittleEndian.Uint32(b[128+4+8:]))
	_, rest, _ := bytes.Cut(b[:meta], []byte("\x02\x00\x10\x00UI"))
	uid := strings.TrimRight(string(rest[2:2+binary.LittleEndian.Uint16(rest)]), "\x00")
	s, ok := FindSyntax(uid)
	if !ok {
		t.Fatalf("%s: transfer syntax %q", path, uid)
	}
	return s, b[meta:]
}

func files(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*.dcm")
	if err != nil || len(all) < 10 {
		t.Fatalf("testdata: %d files, %v", len(all), err)
	}
	return all
}

// Every real file passes unchanged, whatever the pieces it comes in, except the
// one that is cut short.
func TestRealFilesPass(t *testing.T) {
	for _, path := range files(t) {
		s, in := part10(t, path)
		for name, src := range map[string]io.Reader{
			"whole": bytes.NewReader(in), "byte by byte": iotest.OneByteReader(bytes.NewReader(in)),
			"end with data": iotest.DataErrReader(bytes.NewReader(in)),
		} {
			r := NewReader(src, s)
			out, err := io.ReadAll(r)
			if !bytes.Equal(out, in) {
				t.Errorf("%s, %s: %d bytes out of %d", path, name, len(out), len(in))
			}
			if cut := strings.Contains(path, "truncated"); errors.Is(err, ErrMalformed) != cut {
				t.Errorf("%s, %s: %v", path, name, err)
			}
		}
	}
}

// The values kept are those another parser finds.
func TestValuesAgreeWithAnotherParser(t *testing.T) {
	for _, path := range files(t) {
		s, in := part10(t, path)
		r := NewReader(bytes.NewReader(in), s)
		if err := r.Head(1 << 20); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		other, err := dicom.ParseFile(path, nil, dicom.SkipPixelData(), dicom.AllowUnknownSpecificCharacterSet())
		if err != nil && !strings.Contains(path, "truncated") {
			t.Logf("%s: the other parser: %v", path, err)
		}
		for _, want := range []tag.Tag{tag.SOPClassUID, tag.SOPInstanceUID, tag.PatientID, tag.PatientBirthDate, tag.StudyInstanceUID} {
			got := r.Text(Tag(want.Group)<<16 | Tag(want.Element))
			e, err := other.FindElementByTag(want)
			if err != nil {
				if got != "" {
					t.Errorf("%s: %v is %q here, missing there", path, want, got)
				}
				continue
			}
			if vals, ok := e.Value.GetValue().([]string); !ok || strings.Join(vals, `\`) != got {
				t.Errorf("%s: %v is %q here, %v there", path, want, got, e.Value)
			}
		}
	}
}

// Head stops where the identifiers end and gives nothing out yet.
func TestHeadReadsNoFurtherThanNeeded(t *testing.T) {
	s, in := part10(t, "testdata/anonymous_12lead_1000Hz.dcm")
	r := NewReader(bytes.NewReader(in), s)
	if err := r.Head(1 << 20); err != nil {
		t.Fatal(err)
	}
	if r.Text(InstanceUID) != "1.3.6.1.4.1.20029.40.20130125105919.5407.1.1" || r.at > 8<<10 {
		t.Fatalf("instance %q after %d bytes", r.Text(InstanceUID), r.at)
	}
	if out, err := io.ReadAll(r); err != nil || !bytes.Equal(out, in) {
		t.Fatalf("%d bytes out of %d, %v", len(out), len(in), err)
	}
}

// A cut is seen anywhere but between two elements, and so is what follows the end.
func TestCutsAndAdditionsAreSeen(t *testing.T) {
	for _, name := range []string{"structured_report.dcm", "us_explicit_big_endian.dcm", "deflated.dcm"} {
		s, in := part10(t, "testdata/"+name)
		whole := 0
		for n := range in {
			if _, err := io.ReadAll(NewReader(bytes.NewReader(in[:n]), s)); err == nil {
				whole++ // between two top-level elements; nothing in DICOM says that more was meant
			} else if !errors.Is(err, ErrMalformed) {
				t.Fatalf("%s cut at %d: %v", name, n, err)
			}
		}
		if whole > 200 {
			t.Errorf("%s: %d of %d cuts unseen", name, whole, len(in))
		}
		more := append(bytes.Clone(in), make([]byte, maxTrailer+2)...)
		if _, err := io.ReadAll(NewReader(bytes.NewReader(more), s)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s with bytes after it: %v", name, err)
		}
	}
}

// The source's own failure stays what it is: it says nothing about the data.
func TestSourceErrorPasses(t *testing.T) {
	broken := errors.New("connection lost")
	for _, name := range []string{"structured_report.dcm", "deflated.dcm"} {
		s, in := part10(t, "testdata/"+name)
		src := io.MultiReader(bytes.NewReader(in[:1000]), iotest.ErrReader(broken))
		if _, err := io.ReadAll(NewReader(src, s)); !errors.Is(err, broken) || errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func le(tag Tag, vr string, value string) string {
	b := binary.LittleEndian.AppendUint16(nil, uint16(tag>>16))
	b = binary.LittleEndian.AppendUint16(b, uint16(tag))
	long, known := longForm([2]byte([]byte(vr)))
	b = append(b, vr...)
	if long || !known {
		b = binary.LittleEndian.AppendUint32(append(b, 0, 0), uint32(len(value)))
	} else {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	}
	return string(b) + value
}

func TestMalformed(t *testing.T) {
	explicit, _ := FindSyntax("1.2.840.10008.1.2.1")
	jpeg, _ := FindSyntax("1.2.840.10008.1.2.4.50")
	const (
		items     = "\xfe\xff\x00\xe0" // item tag
		endItem   = "\xfe\xff\x0d\xe0\x00\x00\x00\x00"
		endSeq    = "\xfe\xff\xdd\xe0\x00\x00\x00\x00"
		undef     = "\xff\xff\xff\xff"
		openSeq   = "\x08\x00\x40\x11SQ\x00\x00" + undef
		openUN    = "\x09\x00\x40\x11UN\x00\x00" + undef
		openPixel = "\xe0\x7f\x10\x00OB\x00\x00" + undef
	)
	inner := le(0x00080050, "SH", "1234")
	for name, c := range map[string]struct {
		s  Syntax
		in string
		ok bool
	}{
		"sequence":                  {explicit, openSeq + items + undef + inner + endItem + endSeq, true},
		"sequence in unknown VR":    {explicit, openUN + items + "\x0a\x00\x00\x00" + "\x08\x00\x50\x00\x02\x00\x00\x0012" + endSeq, true},
		"empty sequence":            {explicit, openSeq + endSeq, true},
		"fragments":                 {jpeg, openPixel + items + "\x00\x00\x00\x00" + items + "\x02\x00\x00\x00\xff\xd8" + endSeq, true},
		"defined sequence":          {explicit, le(0x00081140, "SQ", items+"\x0c\x00\x00\x00"+inner), true},
		"nothing":                   {explicit, "", true},
		"no VR":                     {explicit, "\x08\x00\x50\x00\x02\x00\x00\x0012", false},
		"descending":                {explicit, le(0x00100020, "LO", "ab") + le(0x00080050, "SH", "1234"), false},
		"patient twice":             {explicit, le(0x00100020, "LO", "ab") + le(0x00100020, "LO", "cd"), false},
		"meta group":                {explicit, le(0x00020010, "UI", "1.2 "), false},
		"longer than the data":      {explicit, le(0x00080050, "UN", "1234")[:14], false},
		"fragments, uncompressed":   {explicit, openPixel + endSeq, false},
		"endless text":              {explicit, "\x08\x00\x50\x00UT\x00\x00" + undef + endSeq, false},
		"delimiter at the top":      {explicit, endItem, false},
		"sequence end in an item":   {explicit, openSeq + items + undef + endSeq, false},
		"element in a sequence":     {explicit, openSeq + inner + endSeq, false},
		"item longer than its SQ":   {explicit, le(0x00081140, "SQ", items+"\x0e\x00\x00\x00"+inner) + "12", false},
		"value longer than item":    {explicit, le(0x00081140, "SQ", items+"\x0c\x00\x00\x00\x08\x00\x50\x00SH\x05\x001234") + "12", false},
		"header out of its item":    {explicit, le(0x00081140, "SQ", items+"\x02\x00\x00\x00\x08\x00") + inner, false},
		"delimiter in defined SQ":   {explicit, le(0x00081140, "SQ", endSeq), false},
		"never closed":              {explicit, openSeq + items + undef + inner, false},
		"fragment without a length": {jpeg, openPixel + items + undef + endSeq, false},
		"too deep":                  {explicit, openSeq + items + undef + strings.Repeat("\x08\x00\x40\x11SQ\x00\x00"+undef+items+undef, maxDepth), false},
	} {
		_, err := io.ReadAll(NewReader(strings.NewReader(c.in), c.s))
		if (err == nil) != c.ok || (err != nil && !errors.Is(err, ErrMalformed)) {
			t.Errorf("%s: %v, want ok %v", name, err, c.ok)
		}
	}
}

func TestExpect(t *testing.T) {
	for name, least := range map[string]int64{
		"ct_small.dcm": 32768, "us_multiframe_jpeg_30f.dcm": 200_000, "anonymous_12lead_1000Hz.dcm": 0,
	} {
		s, in := part10(t, "testdata/"+name)
		r := NewReader(bytes.NewReader(in), s)
		if err := r.Sketch(1 << 20); err != nil {
			t.Fatal(err)
		}
		if got := r.Expect(); got < least || got > 64<<20 {
			t.Errorf("%s: expects %d bytes, want at least %d", name, got, least)
		}
	}
}

// A data set far larger than memory passes in a few buffers.
func TestStreams(t *testing.T) {
	explicit, _ := FindSyntax("1.2.840.10008.1.2.1")
	const size = 1 << 30
	head := le(InstanceUID, "UI", "1.2.3\x00") + "\xe0\x7f\x10\x00OW\x00\x00\x00\x00\x00\x40"
	r := NewReader(io.MultiReader(strings.NewReader(head), io.LimitReader(zeros{}, size)), explicit)
	if err := r.Sketch(1 << 20); err != nil || r.Expect() < size {
		t.Fatalf("expects %d, %v", r.Expect(), err)
	}
	allocated := testing.AllocsPerRun(1, func() {
		if _, err := io.CopyN(io.Discard, r, size/2-int64(len(head))); err != nil {
			t.Fatal(err)
		}
	})
	if allocated > 100 {
		t.Errorf("%v allocations for a gigabyte", allocated)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// What comes out is what went in, up to the first fault, and byte-wise arrival
// changes nothing.
func FuzzReader(f *testing.F) {
	for i, path := range files(f) {
		_, in := part10(f, path)
		if len(in) < 8000 {
			f.Add(uint8(i), in)
		}
	}
	f.Fuzz(func(t *testing.T, pick uint8, in []byte) {
		s := syntaxes[int(pick)%len(syntaxes)]
		r := NewReader(bytes.NewReader(in), s)
		out, err := io.ReadAll(r)
		if !bytes.HasPrefix(in, out) || (err == nil && len(out) != len(in)) || (err != nil && !errors.Is(err, ErrMalformed)) {
			t.Fatalf("%d bytes of %d, %v", len(out), len(in), err)
		}
		slow := NewReader(iotest.OneByteReader(bytes.NewReader(in)), s)
		if herr := slow.Head(1 << 16); herr != nil && err == nil {
			t.Fatalf("head: %v", herr)
		}
		again, serr := io.ReadAll(slow)
		if (serr == nil) != (err == nil) || err == nil && !bytes.Equal(again, out) {
			t.Fatalf("byte by byte: %d bytes, %v; at once %d, %v", len(again), serr, len(out), err)
		}
	})
}
