package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"clinicgate/firmware/rollout"
	"clinicgate/firmware/wire"
)

func TestReport(t *testing.T) {
	i := &wire.Init{Board: "qemu-x86_64", Slots: &wire.Slots{
		Trial: &wire.Trial{Version: "1.6.0"}, Refused: []wire.RefusedRelease{{Version: "1.5.0", Why: "does not bring up syncd: backoff"}},
		Last: "no uplink worked",
	}}
	text, err := json.Marshal(report("ES-VA-047", "all", "1.4.0", i))
	if err != nil {
		t.Fatal(err)
	}
	got, err := rollout.Parse(text)
	if err != nil || got.Runs != "1.4.0" || got.Trial != "1.6.0" || len(got.Refused) != 1 || got.Refused[0].Version != "1.5.0" {
		t.Errorf("got %+v, %v", got, err)
	}
	if r := report("c", "all", "1", &wire.Init{}); r.Refused != nil || r.Trial != "" {
		t.Errorf("a box without slots: %+v", r)
	}
}

// A plain web server says 405: the report waits for one that takes it.
func TestPost(t *testing.T) {
	status := http.StatusMethodNotAllowed
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) }))
	defer server.Close()
	if err := post(t.Context(), server.URL, nil); err == nil {
		t.Error("405 counts as taken")
	}
	status = http.StatusNoContent
	if err := post(t.Context(), server.URL, nil); err != nil {
		t.Error(err)
	}
}
