package ecg

import "encoding/binary"

// Sections of an SCP-ECG record that matter here (EN 1064 §5).
const (
	scpHuffman = 2
	scpLeads   = 3
	scpRhythm  = 6
)

// defaultTables in section 2 says that the standard's own Huffman table was used
// (§5.5.3).
const defaultTables = 19999

// sections finds the data of the sections wanted. format has checked the record
// when it came; here nothing is taken for granted.
func scpSections(b []byte) (map[int][]byte, error) {
	const header, pointer = 16, 10
	if len(b) < 6+header || string(b[16:22]) != "SCPECG" {
		return nil, unreadable("its layout is not that of EN 1064")
	}
	size := int(binary.LittleEndian.Uint32(b[10:]))
	if size < header || 6+size > len(b) {
		return nil, unreadable("section 0 of %d bytes in %d", size, len(b))
	}
	found := map[int][]byte{}
	for t := b[6+header : 6+size]; len(t) >= pointer; t = t[pointer:] {
		number := int(binary.LittleEndian.Uint16(t))
		length, at := int(binary.LittleEndian.Uint32(t[2:])), int(binary.LittleEndian.Uint32(t[6:]))-1
		if length == 0 || number == 0 {
			continue
		}
		if at < 0 || length < header || at+length > len(b) {
			return nil, unreadable("section %d of %d bytes at %d, in %d", number, length, at, len(b))
		}
		found[number] = b[at+header : at+length]
	}
	return found, nil
}

func readSCP(b []byte) (*Recording, error) {
	s, err := scpSections(b)
	if err != nil {
		return nil, err
	}
	leads, rhythm := s[scpLeads], s[scpRhythm]
	if len(leads) < 2 || len(rhythm) < 6 {
		return nil, unreadable("section 3 or 6 is missing")
	}
	count := int(leads[0])
	switch {
	case count == 0 || count > maxLeads || len(leads) < 2+9*count || len(rhythm) < 6+2*count:
		return nil, unreadable("%d leads", count)
	case leads[1]&1 != 0: // §5.6.2: the beat is taken out of the rhythm and stored apart
		return nil, unreadable("its reference beat is stored apart")
	case rhythm[5] != 0:
		return nil, unreadable("it is compressed in two modes")
	}
	packed, err := scpPacked(s[scpHuffman])
	if err != nil {
		return nil, err
	}
	nano, interval := float64(binary.LittleEndian.Uint16(rhythm)), float64(binary.LittleEndian.Uint16(rhythm[2:]))
	if nano == 0 || interval == 0 {
		return nil, unreadable("a step of %g nV each %g µs", nano, interval)
	}
	r := &Recording{Rate: 1e6 / interval}
	data := rhythm[6+2*count:]
	for i := range count {
		lead := leads[2+9*i:]
		from, to := int(binary.LittleEndian.Uint32(lead)), int(binary.LittleEndian.Uint32(lead[4:]))
		length := int(binary.LittleEndian.Uint16(rhythm[6+2*i:]))
		want := to - from + 1
		if length > len(data) || want < 1 || want > maxSamples {
			return nil, unreadable("lead %d: %d samples in %d bytes", i+1, want, length)
		}
		steps, err := scpSteps(data[:length], want, packed)
		if err != nil {
			return nil, err
		}
		data = data[length:]
		if err := integrate(steps, rhythm[4]); err != nil {
			return nil, err
		}
		if name, ok := byNumber[int(lead[8])]; ok && r.Lead(name) == nil {
			r.Leads = append(r.Leads, Lead{name, scaled(steps, nano/1000)})
		}
	}
	return r, nil
}

// scpPacked reports whether the samples are Huffman-coded, by the standard's table.
func scpPacked(section []byte) (bool, error) {
	switch {
	case section == nil:
		return false, nil
	case len(section) >= 2 && binary.LittleEndian.Uint16(section) == defaultTables:
		return true, nil
	}
	return false, unreadable("it has a Huffman table of its own")
}

// scpSteps decodes one lead's numbers.
func scpSteps(b []byte, want int, packed bool) ([]int, error) {
	if packed {
		return huffman(b, want)
	}
	if len(b) < 2*want {
		return nil, unreadable("%d samples in %d bytes", want, len(b))
	}
	out := make([]int, want)
	for i := range out {
		out[i] = int(int16(binary.LittleEndian.Uint16(b[2*i:])))
	}
	return out, nil
}

// huffman decodes the standard's table (§5.5.4 and annex C): n ones and a zero, then
// for n>0 the sign, stand for ±n up to 8; nine ones and a zero for a number of 8
// bits, ten ones for one of 16.
func huffman(b []byte, want int) ([]int, error) {
	bits := &bitReader{b: b}
	out := make([]int, 0, min(want, 8*len(b)))
	for len(out) < want {
		ones := 0
		for ones < 10 && bits.take(1) == 1 {
			ones++
		}
		switch {
		case ones == 0:
			out = append(out, 0)
		case ones <= 8:
			out = append(out, ones*(1-2*bits.take(1)))
		case ones == 9:
			out = append(out, int(int8(bits.take(8))))
		default:
			out = append(out, int(int16(bits.take(16))))
		}
		if bits.over {
			return nil, unreadable("its data end after %d of %d samples", len(out)-1, want)
		}
	}
	return out, nil
}

// bitReader takes bits, the first of a byte being its highest.
type bitReader struct {
	b    []byte
	at   int
	over bool // more was taken than there is
}

func (r *bitReader) take(n int) (v int) {
	for range n {
		v <<= 1
		if r.at/8 >= len(r.b) {
			r.over = true
			continue
		}
		v |= int(r.b[r.at/8]>>(7-r.at%8)) & 1
		r.at++
	}
	return v
}

// integrate turns differences into values in place (§5.9.3): of first order each
// adds to the last, of second order to what the last two lead to.
func integrate(v []int, order byte) error {
	switch order {
	case 0:
	case 1:
		for i := 1; i < len(v); i++ {
			v[i] += v[i-1]
		}
	case 2:
		for i := 2; i < len(v); i++ {
			v[i] += 2*v[i-1] - v[i-2]
		}
	default:
		return unreadable("differences of order %d", order)
	}
	return nil
}

func scaled(v []int, by float64) []float64 {
	out := make([]float64, len(v))
	for i, n := range v {
		out[i] = float64(n) * by
	}
	return out
}
