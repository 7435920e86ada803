package queue

import (
	"errors"
	"strings"
	"testing"

	"clinicgate/syncd/lane"
)

func TestItemCheck(t *testing.T) {
	good := Item{Key: "dicom:1.2.3", Lane: lane.Stat, Kind: "dicom", Origin: "ECGCART"}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Item){
		"no key":     func(it *Item) { it.Key = "" },
		"long key":   func(it *Item) { it.Key = strings.Repeat("k", MaxKey+1) },
		"no lane":    func(it *Item) { it.Lane = 0 },
		"no kind":    func(it *Item) { it.Kind = "" },
		"no origin":  func(it *Item) { it.Origin = "" },
		"bad size":   func(it *Item) { it.Size = -1 },
		"large meta": func(it *Item) { it.Meta = map[string]string{"k": strings.Repeat("v", MaxMeta)} },
	} {
		it := good
		if spoil(&it); !errors.Is(it.check(), ErrInvalid) {
			t.Errorf("%s: accepted", name)
		}
	}
}
