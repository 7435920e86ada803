package ecg

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"clinicgate/syncd/format"
)

// Real recordings, beside the packages that check their formats.
const (
	scpFile   = "../format/testdata/ecgtoolkit_example.scp"
	aecgFile  = "../format/testdata/fda_subject1_0.xml"
	shortFile = "../format/testdata/fda_minimum_aecg.xml"
	healFile  = "../format/testdata/healforce_62.scp"
	dicomFile = "../../image/lab/testdata/ecg/12lead.dcm"
	otherFile = "../dataset/testdata/hemodynamic_12ch_240Hz.dcm"
	pixelFile = "../dataset/testdata/ct_small.dcm"
)

func file(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func read(t *testing.T, kind, name string) *Recording {
	t.Helper()
	r, err := Read(kind, file(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// One recording, written by two strangers' programs in two formats: compressed by
// second differences and Huffman's code in SCP-ECG, spelled out in XML. Each of the
// 60,000 voltages must be the same.
func TestTwoFormatsAgree(t *testing.T) {
	scp, xml := read(t, format.SCPECG, scpFile), read(t, format.AECG, aecgFile)
	if scp.Rate != 500 || xml.Rate != 500 || scp.Seconds() != 10 {
		t.Fatalf("rates %g and %g, %g s", scp.Rate, xml.Rate, scp.Seconds())
	}
	for _, name := range Standard {
		a, b := scp.Lead(name), xml.Lead(name)
		if len(a) != 5000 || !slices.Equal(a, b) {
			t.Errorf("lead %s: %d and %d samples that differ", name, len(a), len(b))
		}
	}
}

// What Einthoven and Goldberger say of the limb leads must hold in the voltages of a
// real device, to the steps it measures in: scales and leads are what they should be.
func TestEinthoven(t *testing.T) {
	for name, step := range map[string]float64{dicomFile: 1.25, otherFile: 4.88} {
		r := read(t, format.DICOM, name)
		if len(r.Leads) != 12 || r.Seconds() != 10 {
			t.Fatalf("%s: %d leads of %g s", name, len(r.Leads), r.Seconds())
		}
		one, two, three := r.Lead("I"), r.Lead("II"), r.Lead("III")
		right, l, f := r.Lead("aVR"), r.Lead("aVL"), r.Lead("aVF")
		for i := range one {
			if d := math.Abs(one[i] + three[i] - two[i]); d > 3*step {
				t.Fatalf("%s: at %d I + III is %g µV from II", name, i, d)
			}
			if d := math.Abs(right[i] + l[i] + f[i]); d > 4*step {
				t.Fatalf("%s: at %d aVR, aVL and aVF make %g µV", name, i, d)
			}
		}
	}
}

// Devices that store eight leads leave four to be reckoned.
func TestDerived(t *testing.T) {
	all := read(t, format.SCPECG, scpFile)
	some := &Recording{Rate: all.Rate}
	for _, name := range []string{"V1", "II", "I"} {
		some.Leads = append(some.Leads, Lead{name, all.Lead(name)})
	}
	if err := some.complete(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range some.Leads {
		names = append(names, l.Name)
		for i, v := range l.Micro {
			if d := math.Abs(v - all.Lead(l.Name)[i]); d > 5 {
				t.Fatalf("lead %s at %d: %g µV from what was recorded", l.Name, i, d)
			}
		}
	}
	if got := strings.Join(names, " "); got != "I II III aVR aVL aVF V1" {
		t.Errorf("got %s", got)
	}
}

func TestHuffman(t *testing.T) {
	// 0, 1, -1, 8, -8, a number of 8 bits, one of 16.
	text := "0" + "100" + "101" + "1111111100" + "1111111101" + "1111111110" + "10000001" + "1111111111" + "0111111111111111"
	b := make([]byte, (len(text)+7)/8)
	for i, c := range text {
		if c == '1' {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	got, err := huffman(b, 7)
	if want := []int{0, 1, -1, 8, -8, -127, 32767}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := huffman(b[:5], 7); !errors.Is(err, ErrUnreadable) {
		t.Errorf("cut short: %v", err)
	}
}

// What can't be read exactly is refused with the reason, and no name.
func TestUnreadable(t *testing.T) {
	scp := file(t, scpFile)
	at := func(i int, v byte) []byte {
		b := bytes.Clone(scp)
		b[i] = v
		return b
	}
	section := func(n int) int { return int(binary.LittleEndian.Uint32(scp[22+10*n+6:])) - 1 + 16 }
	for name, c := range map[string]struct {
		kind string
		b    []byte
		want string
	}{
		"a picture":                {format.DICOM, file(t, pixelFile), "no waveform"},
		"a Heal Force handheld":    {format.SCPECG, file(t, healFile), "layout"},
		"a report":                 {format.PDF, nil, "kind"},
		"nothing":                  {format.DICOM, nil, "transfer syntax"},
		"its own code":             {format.SCPECG, at(section(2), 1), "Huffman table of its own"},
		"a beat apart":             {format.SCPECG, at(section(3)+1, 101), "reference beat"},
		"two modes":                {format.SCPECG, at(section(6)+5, 1), "two modes"},
		"third differences":        {format.SCPECG, at(section(6)+4, 3), "order 3"},
		"no leads":                 {format.SCPECG, at(section(3), 0), "0 leads"},
		"XML cut short":            {format.AECG, file(t, aecgFile)[:20000], "not sound"},
		"a unit nobody knows":      {format.AECG, bytes.Replace(file(t, aecgFile), []byte(`unit="uV"`), []byte(`unit="ft"`), 1), `"ft"`},
		"letters among the digits": {format.AECG, bytes.Replace(file(t, aecgFile), []byte("<digits>"), []byte("<digits>x "), 1), "sample 1"},
	} {
		if _, err := Read(c.kind, c.b); !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if r := read(t, format.AECG, shortFile); len(r.Leads) != 1 {
		t.Errorf("the shortest aECG: %d leads", len(r.Leads))
	}
}

// Implicit VR, and sequences without a length: as another toolkit writes the same.
func TestOtherEncoding(t *testing.T) {
	p := parser{b: implicit(), implicit: true}
	all, err := p.elements(len(p.b), 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := dicomGroup(find(all, waveforms).first())
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Lead("V6"); r.Rate != 500 || !slices.Equal(got, []float64{30, -10}) {
		t.Errorf("got %g, %v", r.Rate, got)
	}
}

// implicit is a waveform of one channel: steps of 2 mV/100, an offset of 10 µV.
func implicit() (b []byte) {
	put := func(tag uint32, n uint32, value ...byte) {
		b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, uint16(tag>>16)), uint16(tag))
		b = append(binary.LittleEndian.AppendUint32(b, n), value...)
	}
	value := func(tag uint32, v string) { put(tag, uint32(len(v)), []byte(v)...) }
	put(waveforms, undefined)
	put(itemTag, undefined)
	value(channels, "\x01\x00")
	value(samples, "\x02\x00\x00\x00")
	value(frequency, "500 ")
	put(channelDefs, undefined)
	put(itemTag, undefined)
	put(source, undefined)
	put(itemTag, undefined)
	value(codeValue, "5.6.3-9-8 ")
	put(itemEnd, 0)
	put(seqEnd, 0)
	value(sensitivity, ".02 ")
	put(units, undefined)
	put(itemTag, 10)
	value(codeValue, "mV")
	put(seqEnd, 0)
	value(correction, "1 ")
	value(baseline, ".01 ")
	put(itemEnd, 0)
	put(seqEnd, 0)
	value(bits, "\x10\x00")
	value(interpreted, "SS")
	value(data, "\x01\x00\xff\xff")
	put(itemEnd, 0)
	put(seqEnd, 0)
	return b
}

func FuzzRead(f *testing.F) {
	for kind, names := range map[string][]string{format.DICOM: {otherFile}, format.AECG: {shortFile}, format.SCPECG: {scpFile, healFile}} {
		for _, name := range names {
			f.Add(kind, file(f, name))
		}
	}
	f.Fuzz(func(t *testing.T, kind string, b []byte) {
		r, err := Read(kind, b)
		if err != nil {
			if !errors.Is(err, ErrUnreadable) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		if len(r.Leads) == 0 || len(r.Leads) > maxLeads || r.Rate <= 0 {
			t.Errorf("%d leads at %g", len(r.Leads), r.Rate)
		}
	})
}

func FuzzImplicit(f *testing.F) {
	f.Add(implicit())
	f.Fuzz(func(t *testing.T, b []byte) {
		p := parser{b: b, implicit: true}
		all, err := p.elements(len(b), 0)
		if err == nil && p.at > len(b) {
			t.Errorf("read to %d of %d", p.at, len(b))
		}
		if err == nil {
			_, _ = dicomGroup(find(all, waveforms).first())
		}
	})
}
