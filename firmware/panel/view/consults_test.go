package view

import (
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/panel/phrase"
	"clinicgate/firmware/wire"
)

func TestConsults(t *testing.T) {
	if c := consultsOf(nil, phrase.EN, now); c.Known {
		t.Errorf("syncd said nothing: %+v", c)
	}
	if c := consultsOf([]wire.Consult{}, phrase.EN, now); !c.Known || len(c.Kinds) != 0 || c.Do != "" {
		t.Errorf("none: %+v", c)
	}
	c := consultsOf([]wire.Consult{
		{Case: "5f0c", State: "waiting", Urgent: true, Changed: before(4 * time.Minute)},
		{Case: "5f0d", State: "waiting", Changed: before(2 * time.Minute)},
		{Case: "5f0e", State: "sent", Changed: before(3 * time.Hour)},
		{Case: "5f0f", State: "answered", Changed: before(10 * time.Minute)},
		{Case: "5f10", State: "final", Changed: before(20 * time.Minute)},
		{Case: "5f11", State: "final", Changed: before(8 * 24 * time.Hour)},
		{Case: "5f12", State: "declined", Changed: before(30 * 24 * time.Hour)},
	}, phrase.EN, now)
	want := []string{"2 answered, oldest 20 min", "2 waiting to be sent, 1 urgent, oldest 4 min", "1 with the specialist, oldest 3 h"}
	if len(c.Kinds) != len(want) || c.Do == "" {
		t.Fatalf("%+v", c)
	}
	for i, w := range want {
		if c.Kinds[i].Says != w {
			t.Errorf("got %q, want %q", c.Kinds[i].Says, w)
		}
		if strings.Contains(c.Kinds[i].Says, "5f") {
			t.Errorf("a case is named: %q", c.Kinds[i].Says)
		}
	}
}
