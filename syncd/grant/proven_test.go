package grant

import (
	"fmt"
	"testing"
)

func TestProvenIsBounded(t *testing.T) {
	var p proven
	for i := range 3 * maxProven {
		p.put(fmt.Sprint(i), &claims{Session: fmt.Sprint(i)})
		if c := p.get(fmt.Sprint(i)); c == nil || c.Session != fmt.Sprint(i) {
			t.Fatalf("%d: %+v", i, c)
		}
	}
	if len(p.tokens) > maxProven || p.get("0") != nil {
		t.Errorf("%d tokens", len(p.tokens))
	}
}
