package morning

import (
	"bytes"
	"os"
	"testing"
)

// TestSameECG makes sure that the comparison the morning rests on can fail.
func TestSameECG(t *testing.T) {
	file, err := os.ReadFile("../testdata/ecg/12lead.dcm")
	if err != nil {
		t.Fatal(err)
	}
	spoil := func(where int) []byte {
		bad := bytes.Clone(file)
		bad[where] ^= 1
		return bad
	}
	patient := bytes.Index(file, []byte("642341"))
	tests := []struct {
		name   string
		stored []byte
		same   bool
	}{
		{"itself", file, true},
		{"another preamble and file header", append(bytes.Repeat([]byte{1}, 128), file[128:]...), true},
		{"another patient", spoil(patient + 5), false},
		{"one sample's lowest bit", spoil(len(file) / 2), false},
		{"cut short", file[:len(file)/2], false},
		{"no DICOM", []byte("<html>"), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := sameECG(file, tt.stored); (err == nil) != tt.same {
				t.Errorf("got %v, want same %v", err, tt.same)
			}
		})
	}
}
