package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

// What is shown of sessions names nobody.
func TestShowCards(t *testing.T) {
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	until := now.Add(-2 * time.Hour)
	v := viewOf(&wire.Card{
		Readers:  []wire.Reader{{Name: "CCID 00", Room: "consulting-1", State: wire.ReaderSession, Since: now}},
		Sessions: []wire.Session{{ID: "s-1", Role: "doctor", Subject: "Practitioner/282864711", Room: "consulting-1", Since: now}, {ID: "s-2", Role: "patient", Subject: "patient:p", Patient: "p", Room: "a", Since: now}},
		KeyBy:    "software: this box has no TPM",
		Trust:    wire.Trust{Grade: wire.GradeStale, Until: &until, Distrust: 3, Clock: "good"},
	})
	var out bytes.Buffer
	showCards(&out, v, now)
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{out.String(), string(text)} {
		if strings.Contains(s, "282864711") || strings.Contains(s, "s-1") || strings.Contains(s, "patient:p") {
			t.Errorf("it says who: %s", s)
		}
	}
	want := "reader   consulting-1         session    since 09:00:00  CCID 00\n" +
		"session  a                    patient    since 09:00:00\n" +
		"session  consulting-1         doctor     since 09:00:00\n" +
		"trust    " + wire.GradeStale + ", 3 cards revoked, hotlist 0, clock good, oldest list out of date by 2h0m0s\n" +
		"tokens   signed by software: this box has no TPM\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
