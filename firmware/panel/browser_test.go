package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var screens = flag.String("screens", "", "write the pictures of the page into this `folder`")

// The page as people use it: on a phone and at a desk, in three languages, in the
// light and in the dark, on a good morning and on a bad one.
func TestScreens(t *testing.T) {
	s := newStage(t)
	s.yesterday(time.Now())
	s.clinic("good")
	s.turn()
	t.Cleanup(func() { s.stop(os.Kill) })
	s.launch()
	says := map[string]string{"good": "Internet by Fibra and Radio", "backup": "solo por Radio", "offline": "Inget internet"}
	look := map[string]string{"good": "desktop", "backup": "phone", "offline": "small"}
	lang := map[string]string{"good": "en-GB", "backup": "es-ES", "offline": "sv-SE"}
	for _, how := range []string{"good", "backup", "offline"} {
		s.clinic(how)
		for _, size := range []struct {
			name          string
			width, height int
			dark          bool
		}{{"phone", 390, 844, false}, {"desktop", 1280, 900, false}, {"small", 320, 640, true}} {
			if *screens == "" && size.name != look[how] {
				continue // three looks at each are for the pictures
			}
			s.do("person", "width", size.width, "height", size.height, "lang", lang[how], "dark", size.dark, "scale", 1)
			s.do("open", "url", s.url())
			s.do("live")
			s.do("says", "selector", "#head", "text", says[how])
			s.clean(how + " " + size.name)
			if wide := s.do("wide"); wide["page"].(float64) > wide["window"].(float64) {
				t.Errorf("%s %s: the page is %v wide in %v", how, size.name, wide["page"], wide["window"])
			}
			if *screens != "" && !size.dark {
				s.do("shot", "file", filepath.Join(*screens, "page-"+how+"-"+size.name+".png"))
			}
		}
	}
	// Without scripts all is there, too.
	s.do("person", "width", 390, "height", 844, "lang", "sv", "scripts", false)
	s.do("open", "url", s.url())
	s.do("says", "selector", "#head", "text", "Inget internet")
	s.do("says", "selector", "footer", "text", "Utan JavaScript")
}

// clean holds the page to WCAG 2.2 AA as far as a machine can, and to its own policy.
func (s *stage) clean(where string) {
	s.Helper()
	got := s.do("axe")
	if got["passes"].(float64) < 10 {
		s.Errorf("%s: only %v rules were checked", where, got["passes"])
	}
	for _, v := range got["violations"].([]any) {
		s.Errorf("%s: %v", where, v)
	}
	for _, e := range s.do("seen")["seen"].([]any) {
		s.Errorf("%s: the console says %v", where, e)
	}
}

// The page stays open all day: it changes by itself, keeps what a person opened,
// says when the gateway is gone and comes back with it.
func TestOpenAllDay(t *testing.T) {
	s := newStage(t)
	s.clinic("backup")
	s.turn()
	t.Cleanup(func() { s.stop(os.Kill) })
	s.launch()
	s.do("person", "width", 1280, "height", 900, "lang", "en")
	s.do("open", "url", "http://gateway.internal:"+s.plain+"/") // as people type it
	s.do("live")
	s.do("says", "selector", "#head", "text", "2 ECGs waiting and 3 files waiting, oldest 4 min")
	// By keyboard alone the way to the content comes first, and is to be seen.
	if first := s.do("press", "key", "Tab"); first["text"] != "Skip to the content" || first["visible"] != true {
		t.Errorf("the first stop is %v", first)
	}
	s.do("click", "selector", ".alarms summary")
	s.do("wait", "selector", ".alarms details p")

	s.clinic("offline")
	s.do("says", "selector", "#head", "text", "No internet; records 28 min old")
	if got := s.do("text", "selector", ".alarms details[open] p"); got["text"] == "" {
		t.Error("what was opened is closed")
	}
	s.do("click", "selector", "nav a[lang=sv]")
	s.do("says", "selector", "#head", "text", "Inget internet")
	s.do("live")

	s.stop(os.Kill) // a power cut
	s.do("says", "selector", "#lost", "text", "Ingen kontakt med gatewayen")
	s.clinic("good")
	s.turn()
	s.do("says", "selector", "#lost", "text", "Åter i kontakt")
	s.do("says", "selector", "#head", "text", "Fungerar")
	s.do("wait", "selector", "#lost", "state", "hidden")
	for _, e := range s.do("seen")["seen"].([]any) {
		if !strings.Contains(e.(string), "net::ERR") { // while the gateway was away
			t.Errorf("the console says %v", e)
		}
	}
}

// An orderly end keeps the lines' day; what a power cut leaves is a file or none.
func TestDayIsKept(t *testing.T) {
	s := newStage(t)
	s.clinic("good")
	s.turn()
	s.stop(syscall.SIGTERM)
	fi, err := os.Stat(s.path("state/day"))
	if err != nil || fi.Size() < 1000 {
		t.Fatalf("the day: %v, %v", fi, err)
	}
	s.try(os.WriteFile(s.path("state/day"), []byte("cgday 1\ncut"), 0o600))
	s.turn() // a damaged one costs the plots, and nothing else
	s.stop(syscall.SIGTERM)
	if fi, err := os.Stat(s.path("state/day")); err != nil || fi.Size() < 1000 {
		t.Fatalf("after a damaged day: %v, %v", fi, err)
	}
}
