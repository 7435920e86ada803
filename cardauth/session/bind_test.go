package session

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func TestBind(t *testing.T) {
	m := New(Rules{})
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	if m.Bind("s", "jkt:a") {
		t.Error("a session that isn't was bound")
	}
	m.sessions["s"] = &Session{ID: "s", Since: now}
	before, _ := m.Live("s")
	for i := range maxKeys + 2 {
		for range 2 { // twice is once
			if !m.Bind("s", fmt.Sprint("jkt:", i)) {
				t.Fatal("the session does not live")
			}
		}
	}
	s, _ := m.Live("s")
	if len(s.Keys) != maxKeys || s.Keys[0] != "jkt:2" || len(before.Keys) != 0 {
		t.Errorf("got %v, before %v", s.Keys, before.Keys)
	}
	m.Unbind("s", "jkt:5")
	after, _ := m.Live("s")
	if slices.Contains(after.Keys, "jkt:5") || !slices.Contains(s.Keys, "jkt:5") {
		t.Errorf("got %v, and the copy %v", after.Keys, s.Keys)
	}
	m.Unbind("gone", "x")
}
