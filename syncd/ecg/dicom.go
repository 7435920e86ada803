package ecg

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"

	"clinicgate/syncd/dataset"
)

// Elements of the waveform module (PS3.3 §C.10.9), and the sequences on the way to
// them: with implicit VR nothing else tells them.
const (
	waveforms   = 0x54000100
	channels    = 0x003A0005
	samples     = 0x003A0010
	frequency   = 0x003A001A
	channelDefs = 0x003A0200
	source      = 0x003A0208
	sensitivity = 0x003A0210
	units       = 0x003A0211
	correction  = 0x003A0212
	baseline    = 0x003A0213
	bits        = 0x54001004
	interpreted = 0x54001006
	data        = 0x54001010
	codeValue   = 0x00080100
	codeMeaning = 0x00080104
)

// Transfer syntaxes of waveforms (PS3.5 §10); compressed ones are for pictures.
const (
	implicitLE = "1.2.840.10008.1.2"
	explicitLE = "1.2.840.10008.1.2.1"
)

// element is a value, or the items of a sequence.
type element struct {
	tag   uint32
	value []byte
	items [][]element
}

func find(all []element, tag uint32) *element {
	for i := range all {
		if all[i].tag == tag {
			return &all[i]
		}
	}
	return &element{}
}

func (e *element) text() string { return strings.Trim(string(e.value), " \x00") }

func (e *element) number(missing float64) float64 {
	if e.tag == 0 {
		return missing
	}
	v, err := strconv.ParseFloat(e.text(), 64)
	if err != nil {
		return missing
	}
	return v
}

func (e *element) uint() int {
	switch len(e.value) {
	case 2:
		return int(binary.LittleEndian.Uint16(e.value))
	case 4:
		return int(binary.LittleEndian.Uint32(e.value))
	}
	return -1
}

// first is the first item of a sequence, empty without one.
func (e *element) first() []element {
	if len(e.items) == 0 {
		return nil
	}
	return e.items[0]
}

func readDICOM(b []byte) (*Recording, error) {
	r := bytes.NewReader(b)
	meta, _, err := dataset.ReadMeta(r)
	if err != nil || meta.Syntax != implicitLE && meta.Syntax != explicitLE {
		return nil, unreadable("transfer syntax %.64q", meta.Syntax)
	}
	p := parser{b: b[len(b)-r.Len():], implicit: meta.Syntax == implicitLE}
	top, err := p.elements(len(p.b), 0)
	if err != nil {
		return nil, err
	}
	group := find(top, waveforms).first() // the rhythm; a second one is of median beats
	if group == nil {
		return nil, unreadable("it has no waveform")
	}
	return dicomGroup(group)
}

func dicomGroup(g []element) (*Recording, error) {
	defs, n, count := find(g, channelDefs).items, find(g, channels).uint(), find(g, samples).uint()
	raw := find(g, data).value
	switch {
	case find(g, bits).uint() != 16 || find(g, interpreted).text() != "SS":
		return nil, unreadable("samples of %d bits, %.4q", find(g, bits).uint(), find(g, interpreted).text())
	case n < 1 || n > maxLeads || n != len(defs) || count < 1 || count > maxSamples || len(raw) < 2*n*count:
		return nil, unreadable("%d channels of %d samples in %d bytes", n, count, len(raw))
	}
	r := &Recording{Rate: find(g, frequency).number(0)}
	for c, def := range defs {
		name := dicomLead(find(def, source).first())
		if name == "" || r.Lead(name) != nil {
			continue
		}
		unit, known := micro[find(find(def, units).first(), codeValue).text()]
		step := find(def, sensitivity).number(0) * find(def, correction).number(1) * unit
		if !known || step == 0 {
			return nil, unreadable("channel %d has no scale in volts", c+1)
		}
		zero := find(def, baseline).number(0) * unit // voltage of an encoded 0
		v := make([]float64, count)
		for i := range v {
			v[i] = float64(int16(binary.LittleEndian.Uint16(raw[2*(i*n+c):])))*step + zero
		}
		r.Leads = append(r.Leads, Lead{name, v})
	}
	return r, nil
}

// dicomLead names a channel's source (PS3.16 CID 3001): by SCP-ECG's numbers, which
// end the codes, by MDC's, or by what it means in words.
func dicomLead(code []element) string {
	value := find(code, codeValue).text()
	for _, scheme := range []string{"5.6.3-9-", "2:"} { // MDC lead codes count as SCP-ECG does
		if number, ok := strings.CutPrefix(value, scheme); ok {
			n, err := strconv.Atoi(number)
			if err == nil && byNumber[n] != "" {
				return byNumber[n]
			}
		}
	}
	meaning, _, _ := strings.Cut(find(code, codeMeaning).text(), "(")
	return leadName(strings.TrimPrefix(strings.TrimSpace(meaning), "Lead "))
}

// Bounds of a data set's structure; waveforms nest four deep.
const (
	maxDepth    = 12
	maxElements = 1 << 16
)

// parser reads elements of a little-endian data set that is in memory whole.
type parser struct {
	b        []byte
	at       int
	implicit bool
	count    int
}

const (
	undefined = 0xFFFFFFFF
	itemTag   = 0xFFFEE000
	itemEnd   = 0xFFFEE00D
	seqEnd    = 0xFFFEE0DD
)

// head reads a tag and, if there is room, nothing else.
func (p *parser) head(end int) (uint32, error) {
	if p.count++; p.at+8 > end || p.count > maxElements {
		return 0, unreadable("its data set ends in an element, or never")
	}
	tag := uint32(binary.LittleEndian.Uint16(p.b[p.at:]))<<16 | uint32(binary.LittleEndian.Uint16(p.b[p.at+2:]))
	p.at += 4
	return tag, nil
}

func (p *parser) length() uint32 {
	n := binary.LittleEndian.Uint32(p.b[p.at:])
	p.at += 4
	return n
}

// elements reads to end, or to the end of an item that has no length.
func (p *parser) elements(end, depth int) (all []element, err error) {
	if depth > maxDepth {
		return nil, unreadable("its data set is nested too deep")
	}
	for p.at < end {
		tag, err := p.head(end)
		if err != nil {
			return nil, err
		}
		if tag == itemEnd {
			p.at += 4
			return all, nil
		}
		sequence, length, err := p.kind(tag, end)
		if err != nil {
			return nil, err
		}
		e := element{tag: tag}
		switch {
		case sequence || length == undefined:
			e.items, err = p.items(length, end, depth)
		case int64(p.at)+int64(length) > int64(end):
			err = unreadable("element %08x of %d bytes sticks out", tag, length)
		default:
			e.value = p.b[p.at : p.at+int(length)]
			p.at += int(length)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// kind reads VR and length (PS3.5 §7.1).
func (p *parser) kind(tag uint32, end int) (sequence bool, length uint32, err error) {
	if p.implicit {
		switch tag {
		case waveforms, channelDefs, source, units:
			sequence = true
		}
		return sequence, p.length(), nil
	}
	vr := string(p.b[p.at : p.at+2])
	switch vr {
	case "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV":
		if p.at += 4; p.at+4 > end {
			return false, 0, unreadable("its data set ends in an element")
		}
		return vr == "SQ", p.length(), nil
	}
	n := binary.LittleEndian.Uint16(p.b[p.at+2:])
	p.at += 4
	return false, uint32(n), nil
}

// items reads the items of a sequence.
func (p *parser) items(length uint32, end, depth int) (all [][]element, err error) {
	open := length == undefined
	if !open {
		if int64(p.at)+int64(length) > int64(end) {
			return nil, unreadable("a sequence of %d bytes sticks out", length)
		}
		end = p.at + int(length)
	}
	for p.at < end {
		tag, err := p.head(end)
		if err != nil {
			return nil, err
		}
		size := p.length()
		switch {
		case tag == seqEnd && open:
			return all, nil
		case tag != itemTag || size != undefined && int64(p.at)+int64(size) > int64(end):
			return nil, unreadable("%08x where an item is wanted", tag)
		}
		to := end
		if size != undefined {
			to = p.at + int(size)
		}
		item, err := p.elements(to, depth+1)
		if err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, nil
}
