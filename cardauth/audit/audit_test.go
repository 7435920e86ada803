package audit

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestFHIR(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 30, 0, 123456789, time.FixedZone("", 3600))
	got, err := Event{
		Kind: Breaks, At: at, Session: "s-1", Who: "Practitioner/1", Role: "doctor", Patient: "1001", Room: "consulting-1",
		Reader: "Gemalto", Device: "ws-1", Why: "unconscious", Statement: []byte("st"), Signature: []byte("sig"), Certificate: []byte("der"),
	}.FHIR("T-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"resourceType":"AuditEvent"`, `"code":"110127"`, `"recorded":"2026-11-22T08:30:00.123Z"`, `"outcome":"0"`, `"outcomeDesc":"unconscious"`,
		`"code":"BTG"`, `"who":{"reference":"Practitioner/1"},"requestor":true`, `"identifier":{"value":"1001"}`, `"site":"T-1"`, `"name":"ws-1"`,
		`{"type":"signature","valueBase64Binary":"c2ln"}`, `"location":{"display":"consulting-1"}`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

// Each kind has what R4 requires (AuditEvent: type, recorded, agent, source).
func TestEveryKind(t *testing.T) {
	for kind := range types {
		text, err := Event{Kind: kind, At: time.Unix(0, 0), Failed: kind == Refused}.FHIR("T-1")
		if err != nil {
			t.Fatal(err)
		}
		var e event
		if err := json.Unmarshal(text, &e); err != nil || e.Type.Code == "" || len(e.Agent) == 0 || e.Source.Observer.Display == "" || e.Recorded == "" {
			t.Errorf("%s: %s, %v", kind, text, err)
		}
		if want := map[bool]string{true: "4", false: "0"}[kind == Refused]; e.Outcome != want {
			t.Errorf("%s: outcome %q, want %q", kind, e.Outcome, want)
		}
	}
	if _, err := (Event{Kind: "party"}).FHIR("T-1"); err == nil {
		t.Error("an unknown kind was taken")
	}
}
