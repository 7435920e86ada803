package mqtt

import (
	"strings"
	"testing"
)

// Only the gateway speaks under its own topics, and anybody may listen.
func TestSaysTopics(t *testing.T) {
	for filter, want := range map[string]bool{
		says + "consults/#": true, "clinic/a/x": true, "clinic/b/x": false, "#": false, "+/consults": false, "clinicgate": false, "$SYS/#": false,
	} {
		if got := mayHear("a", filter); got != want {
			t.Errorf("a may hear %s: %v", filter, got)
		}
	}
	if allowed("a", says+"consults/1") != nil || !strings.HasSuffix(says, "/") {
		t.Error("a device may publish in the gateway's name")
	}
	if err := new(Server).Say(Message{}); err == nil {
		t.Error("a broker that is not there said something")
	}
}
