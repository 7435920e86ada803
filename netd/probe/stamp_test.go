package probe

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/netd/stamp"
)

// TestSession measures loopback.
func TestSession(t *testing.T) {
	lab.Require(t, lab.Root) // to set a mark
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- Reflect(conn) }()
	s, err := OpenSession(t.Context(), "lo", 0x10000, conn.LocalAddr().(*net.UDPAddr).AddrPort())
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- s.Receive() }()
	for range 20 {
		if err := s.Send(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	if r := s.Result(); r.RTT <= 0 || r.Heard.IsZero() || r.LossOut != 0 || r.LossIn != 0 {
		t.Errorf("got %+v", r)
	}
	conn.Close()
	s.Close()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestSessionsBounded: a reflector forgets the longest silent of too many senders.
func TestSessionsBounded(t *testing.T) {
	s := newSessions()
	from := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(i >> 16), byte(i >> 8)}), uint16(i)|0x8000)
	}
	for i := range 3 * maxSessions {
		if i > 0 && s.count(from(0)) == 0 {
			t.Fatal("a sender that is heard all the time was forgotten")
		}
		s.count(from(i))
	}
	if len(s.all) != maxSessions || s.order.Len() != maxSessions {
		t.Errorf("%d sessions, want %d", len(s.all), maxSessions)
	}
}

func TestReflectShort(t *testing.T) {
	if _, err := stamp.Reflect(make([]byte, 20), 0, time.Now(), 1); err == nil {
		t.Error("want a refusal")
	}
}

// TestPortal asks pages of all kinds.
func TestPortal(t *testing.T) {
	lab.Require(t, lab.Root)
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   Finding
	}{
		"the internet": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, Finding{Clear: true}},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://login.isp.example/?x", http.StatusFound)
		}, Finding{Host: "login.isp.example"}},
		"to a strange place": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "http://a<b>.example/")
			w.WriteHeader(302)
		}, Finding{Host: "127.0.0.1"}},
		"to nowhere":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(307) }, Finding{Host: "127.0.0.1"}},
		"a page":          {func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>Welcome")) }, Finding{Host: "127.0.0.1"}},
		"RFC 6585":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(511) }, Finding{Host: "127.0.0.1"}},
		"an error":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, Finding{}},
		"endless headers": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) }, Finding{}},
	} {
		srv := httptest.NewServer(c.answer)
		if got := (Portal{Dev: "lo", URL: srv.URL}).Ask(t.Context()); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
		srv.Close()
	}
	if got := (Portal{Dev: "lo", URL: "http://127.0.0.1:1/"}).Ask(t.Context()); got != (Finding{}) {
		t.Errorf("nobody: %+v", got)
	}
	if got := (Portal{Dev: "lo", URL: "http://portal.example/"}).Ask(t.Context()); got != (Finding{}) {
		t.Errorf("no resolver: %+v", got)
	}
	if got := (Portal{Dev: "lo", URL: "http://portal.example/", Resolvers: []netip.Addr{netip.MustParseAddr("127.0.0.77")}}).Ask(t.Context()); got.Names != "127.0.0.77 does not answer" {
		t.Errorf("dead resolver: %+v", got)
	}
}
