package lane

import "testing"

func TestNames(t *testing.T) {
	for _, l := range All() {
		text, err := l.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Lane
		if err := back.UnmarshalText(text); err != nil || back != l {
			t.Fatalf("%v became %v, %v", l, back, err)
		}
	}
	if _, err := Parse("urgent"); err == nil {
		t.Fatal("an unknown lane was taken")
	}
	if _, err := Lane(0).MarshalText(); err == nil {
		t.Fatal("no lane was written as one")
	}
}
