package ecg

import (
	"bytes"
	"encoding/xml"
	"strconv"
	"strings"

	"golang.org/x/net/html/charset"
)

// sequence is one sequence of an HL7 v3 aECG (PORT_MT020001): of time, or of one
// lead.
type sequence struct {
	Code  coded `xml:"code"`
	Value struct {
		Increment quantity `xml:"increment"`
		Origin    quantity `xml:"origin"`
		Scale     quantity `xml:"scale"`
		Digits    string   `xml:"digits"`
	} `xml:"value"`
}

type coded struct {
	Code string `xml:"code,attr"`
}

type quantity struct {
	Value string `xml:"value,attr"`
	Unit  string `xml:"unit,attr"`
}

// in is the quantity in the unit that a factor of 1 stands for.
func (q quantity) in(units map[string]float64) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(q.Value), 64)
	factor, known := units[q.Unit]
	if err != nil || !known {
		return 0, unreadable("a quantity of %.20q %.20q", q.Value, q.Unit)
	}
	return v * factor, nil
}

var (
	micro   = map[string]float64{"uV": 1, "mV": 1e3, "nV": 1e-3, "V": 1e6}
	seconds = map[string]float64{"s": 1, "ms": 1e-3, "us": 1e-6}
)

// readAECG reads the first set of sequences: the rhythm. Sets of representative
// beats come in other elements, or after it.
func readAECG(b []byte) (*Recording, error) {
	var doc struct {
		Sets []struct {
			Sequences []sequence `xml:"component>sequence"`
		} `xml:"component>series>component>sequenceSet"`
	}
	d := xml.NewDecoder(bytes.NewReader(b))
	d.CharsetReader = charset.NewReaderLabel
	if err := d.Decode(&doc); err != nil {
		return nil, unreadable("its XML is not sound")
	}
	if len(doc.Sets) == 0 {
		return nil, unreadable("it has no sequences")
	}
	r := &Recording{}
	for _, s := range doc.Sets[0].Sequences {
		if strings.HasPrefix(s.Code.Code, "TIME_") {
			step, err := s.Value.Increment.in(seconds)
			if err != nil {
				return nil, err
			}
			r.Rate = 1 / step
			continue
		}
		name := leadName(strings.TrimPrefix(s.Code.Code, "MDC_ECG_LEAD_"))
		if name == "" || r.Lead(name) != nil {
			continue
		}
		v, err := s.micro()
		if err != nil {
			return nil, err
		}
		if len(r.Leads) >= maxLeads {
			return nil, unreadable("more than %d leads", maxLeads)
		}
		r.Leads = append(r.Leads, Lead{name, v})
	}
	return r, nil
}

func (s *sequence) micro() ([]float64, error) {
	origin, err := s.Value.Origin.in(micro)
	if err != nil {
		return nil, err
	}
	scale, err := s.Value.Scale.in(micro)
	if err != nil {
		return nil, err
	}
	var out []float64
	for digits := range strings.FieldsSeq(s.Value.Digits) {
		n, err := strconv.ParseFloat(digits, 64)
		if err != nil || len(out) >= maxSamples {
			return nil, unreadable("lead %.20q: sample %d", s.Code.Code, len(out)+1)
		}
		out = append(out, origin+scale*n)
	}
	return out, nil
}

// leadName is a lead's name as reports write it, or "".
func leadName(said string) string {
	for _, name := range Standard {
		if strings.EqualFold(name, strings.TrimSpace(said)) {
			return name
		}
	}
	return ""
}
