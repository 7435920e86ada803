// Package ecg reads the voltages out of resting ECGs: DICOM waveforms, HL7 aECG and
// SCP-ECG. Its one guarantee: a voltage that comes out is what the file says it is,
// in microvolts of a named lead; what can't be read exactly is refused, never guessed.
package ecg

import (
	"errors"
	"fmt"
	"slices"

	"clinicgate/syncd/format"
)

// ErrUnreadable marks a recording that is sound for its recipient and can't be read
// here: compressed in a way not known, or without the leads of an ECG.
var ErrUnreadable = errors.New("this ECG can't be drawn here")

// Bounds of a recording: half an hour of twelve leads, far beyond a resting ECG.
const (
	maxLeads   = 32
	maxSamples = 1 << 21 // of one lead
	maxRate    = 20000   // samples a second
)

// Standard names the twelve leads in the order of a report.
var Standard = [...]string{"I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"}

// Lead is one lead's voltages.
type Lead struct {
	Name  string
	Micro []float64 // µV
}

// Recording is leads that were recorded at the same time.
type Recording struct {
	Rate  float64 // samples a second
	Leads []Lead
}

// Lead returns the voltages of a lead by its name, nil if it was not recorded.
func (r *Recording) Lead(name string) []float64 {
	for _, l := range r.Leads {
		if l.Name == name {
			return l.Micro
		}
	}
	return nil
}

// Seconds is how long the recording is.
func (r *Recording) Seconds() float64 {
	n := 0
	for _, l := range r.Leads {
		n = max(n, len(l.Micro))
	}
	return float64(n) / r.Rate
}

// Read reads a whole file of one of format's kinds.
func Read(kind string, b []byte) (*Recording, error) {
	var r *Recording
	var err error
	switch kind {
	case format.DICOM:
		r, err = readDICOM(b)
	case format.AECG:
		r, err = readAECG(b)
	case format.SCPECG:
		r, err = readSCP(b)
	default:
		return nil, fmt.Errorf("%w: it is of kind %q", ErrUnreadable, kind)
	}
	if err != nil {
		return nil, err
	}
	return r, r.complete()
}

// complete checks the bounds, and adds the limb leads that follow from I and II
// (Einthoven; Goldberger): devices that store eight leads leave them out.
func (r *Recording) complete() error {
	if !(r.Rate > 0 && r.Rate <= maxRate) {
		return fmt.Errorf("%w: %g samples a second", ErrUnreadable, r.Rate)
	}
	r.Leads = slices.DeleteFunc(r.Leads, func(l Lead) bool { return len(l.Micro) == 0 })
	if len(r.Leads) == 0 {
		return fmt.Errorf("%w: it has no lead of an ECG", ErrUnreadable)
	}
	one, two := r.Lead("I"), r.Lead("II")
	for _, d := range []struct {
		name string
		a, b float64
	}{{"III", -1, 1}, {"aVR", -.5, -.5}, {"aVL", 1, -.5}, {"aVF", -.5, 1}} {
		if r.Lead(d.name) != nil || one == nil || len(one) != len(two) {
			continue
		}
		v := make([]float64, len(one))
		for i := range v {
			v[i] = d.a*one[i] + d.b*two[i]
		}
		r.Leads = append(r.Leads, Lead{d.name, v})
	}
	slices.SortStableFunc(r.Leads, func(a, b Lead) int { return place(a.Name) - place(b.Name) })
	return nil
}

// place is a lead's in a report; other leads come after the twelve.
func place(name string) int {
	if i := slices.Index(Standard[:], name); i >= 0 {
		return i
	}
	return len(Standard)
}

// byNumber are the leads as SCP-ECG numbers them (EN 1064 §5.6.3), and DICOM after
// it.
var byNumber = map[int]string{
	1: "I", 2: "II", 3: "V1", 4: "V2", 5: "V3", 6: "V4", 7: "V5", 8: "V6", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF",
}

func unreadable(what string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnreadable, fmt.Sprintf(what, args...))
}
