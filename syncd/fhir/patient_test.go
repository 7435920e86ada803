package fhir

import (
	"slices"
	"testing"
)

func TestNumbers(t *testing.T) {
	for body, want := range map[string][]string{
		`{"resourceType":"Patient","id":"1"}`: nil,
		`{"resourceType":"Patient","identifier":[{"system":"a","value":"1001"},{"use":"old"},{"value":"x"}]}`: {"1001", "x"},
	} {
		if got, err := Numbers([]byte(body)); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v", body, got, err)
		}
	}
	for _, body := range []string{
		`{"resourceType":"Group","identifier":[]}`, `{"resourceType":"Patient","identifier":{}}`, `{"resourceType":"Patient","identifier":["x"]}`,
		`{"resourceType":"Patient","identifier":[{"value":7}]}`, `{"resourceType":"Patient","identifier":[{"value":"1","Value":"2"}]}`, `[]`, ``,
	} {
		if got, err := Numbers([]byte(body)); err == nil {
			t.Errorf("%s: got %v", body, got)
		}
	}
}

func FuzzNumbers(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Patient","identifier":[{"system":"a","value":"1001"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := Numbers(body)
		if err == nil && len(got) > maxNumbers {
			t.Fatalf("%d numbers", len(got))
		}
	})
}
