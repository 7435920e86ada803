package metric

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

func TestTextFormat(t *testing.T) {
	var s Set
	s.Counter("failoverd_adverts_sent_total", "Advertisements sent.", "group", "lan").Add(3)
	s.Counter("failoverd_adverts_sent_total", "Advertisements sent.", "group", "a\"b\\c\n").Inc()
	s.Counter("failoverd_adverts_sent_total", "Advertisements sent.", "group", "lan").Add(-7) // dropped
	g := s.Gauge("failoverd_master", "1 while master.\nElse 0.")
	g.Set(1)
	g.Add(-0.75)
	s.Counter("a_total", "No labels, two.", "z", "1", "a", "2").Inc()
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	want := `# HELP a_total No labels, two.
# TYPE a_total counter
a_total{a="2",z="1"} 1
# HELP failoverd_adverts_sent_total Advertisements sent.
# TYPE failoverd_adverts_sent_total counter
failoverd_adverts_sent_total{group="a\"b\\c\n"} 1
failoverd_adverts_sent_total{group="lan"} 3
# HELP failoverd_master 1 while master.\nElse 0.
# TYPE failoverd_master gauge
failoverd_master 0.25
`
	if got := rec.Body.String(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if ct := rec.Header().Get("Content-Type"); !strings.Contains(ct, "version=0.0.4") {
		t.Errorf("content type %q", ct)
	}
}

func TestNilDiscards(t *testing.T) {
	var s *Set
	s.Counter("x_total", "").Inc()
	s.Gauge("y", "").Set(1)
	s.Gauge("y", "").Add(1)
	var out strings.Builder
	if err := s.Write(&out); err != nil || out.Len() != 0 {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

func TestConcurrent(t *testing.T) {
	var s Set
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				s.Counter("x_total", "", "k", "v").Inc()
			}
		})
	}
	wg.Wait()
	var out strings.Builder
	if err := s.Write(&out); err != nil || !strings.Contains(out.String(), `x_total{k="v"} 8000`) {
		t.Errorf("got %q, %v", out.String(), err)
	}
}

// Mistakes of the program stop the first test that runs into them.
func TestMistakes(t *testing.T) {
	for name, f := range map[string]func(*Set){
		"two kinds":   func(s *Set) { s.Counter("x", ""); s.Gauge("x", "") },
		"bad name":    func(s *Set) { s.Counter("x-y", "") },
		"digit first": func(s *Set) { s.Counter("1x", "") },
		"no name":     func(s *Set) { s.Counter("", "") },
		"half a pair": func(s *Set) { s.Counter("x", "", "k") },
		"bad label":   func(s *Set) { s.Counter("x", "", "k k", "v") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("went unnoticed")
				}
			}()
			f(&Set{})
		})
	}
}
