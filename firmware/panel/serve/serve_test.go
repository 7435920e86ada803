package serve

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/panel/day"
	"clinicgate/firmware/panel/view"
	"clinicgate/firmware/site"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// A clinic whose state a test changes.
type clinic struct {
	mu  sync.Mutex
	box status.Box
}

func (c *clinic) look() view.Of {
	c.mu.Lock()
	defer c.mu.Unlock()
	return view.Of{Box: c.box, Day: &day.Day{}, Now: time.Now()}
}

func (c *clinic) name(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.box.Site.Name = name
}

func newHandler(tb testing.TB) (*Handler, *clinic) {
	tb.Helper()
	pages, err := NewPages()
	if err != nil {
		tb.Fatal(err)
	}
	c := &clinic{box: status.Box{
		Site: site.Identity{Name: "Peñafiel", Code: "x"},
		Net: status.Seen[wire.Net]{Presence: status.Live, V: &wire.Net{Uplinks: []wire.Uplink{{Name: "<b>A</b>", State: wire.UplinkUp}}, Header: wire.Header{
			Faults: []wire.Fault{{ID: "uplink.down", Severity: wire.Alarm, What: "<script>alert(1)</script>"}},
		}}},
	}}
	ctx, cancel := context.WithCancel(context.Background())
	tb.Cleanup(cancel)
	return &Handler{Look: c.look, Pages: pages, Names: []string{"gateway.internal"}, Log: slog.New(slog.DiscardHandler), Ended: ctx}, c
}

func ask(h http.Handler, method, target string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", nil)
	if u, err := url.ParseRequestURI(target); err == nil {
		r.URL, r.RequestURI = u, target
	}
	r.Host = "gateway.internal"
	for _, f := range change {
		f(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func set(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

func TestPage(t *testing.T) {
	h, _ := newHandler(t)
	w := ask(h, "GET", "/", set("Accept-Language", "sv-SE,sv;q=0.9"))
	body := w.Body.String()
	for _, want := range []string{`<html lang="sv">`, "Peñafiel", "Vad du gör", "&lt;script&gt;alert(1)", "&lt;b&gt;A&lt;/b&gt;", `aria-current="true">Svenska`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in the page", want)
		}
	}
	for _, never := range []string{"<script>", " style=", " onclick", "javascript:", "http://", "https://"} {
		if strings.Contains(body, never) {
			t.Errorf("%q is in the page", never)
		}
	}
	if w.Code != http.StatusOK || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("got %d %v", w.Code, w.Header())
	}
	csp := w.Header().Get("Content-Security-Policy")
	if strings.Contains(csp, "unsafe") || !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %s", csp)
	}
}

// The page for ECGs is there when programs can log in, and only then; its policy
// names the two services, and what cardauth says can't add to it.
func TestECGPage(t *testing.T) {
	h, c := newHandler(t)
	if w := ask(h, "GET", "/ecg"); w.Code != http.StatusNotFound {
		t.Errorf("without any: %d", w.Code)
	}
	h.Records = "https://gateway.internal:8447/fhir/R4"
	for base, want := range map[string]int{
		"https://gateway.internal:8446": 200, "http://gateway.internal:8446": 404, "https://x; script-src *": 404, "": 404, "https://a'b": 404,
	} {
		h.parts = nil
		c.box.Card = status.Seen[wire.Card]{Presence: status.Live, V: &wire.Card{Apps: &wire.Apps{Base: base}}}
		w := ask(h, "GET", "/ecg?code=x&state=y")
		if w.Code != want {
			t.Errorf("%s: %d, want %d", base, w.Code, want)
		}
		if want != 200 {
			continue
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "script-src 'self' https://gateway.internal:8446; ") ||
			!strings.Contains(csp, "connect-src https://gateway.internal:8446 https://gateway.internal:8447; ") || strings.Contains(csp, "unsafe") {
			t.Errorf("policy %s", csp)
		}
		if b := w.Body.String(); !strings.Contains(b, h.Pages.named["ecg.js"]) || !strings.Contains(b, `data-records="https://gateway.internal:8447/fhir/R4"`) {
			t.Errorf("page %s", b)
		}
		if b := ask(h, "GET", "/").Body.String(); !strings.Contains(b, `href="/ecg"`) && strings.Contains(b, "lanes") {
			t.Error("the clinic's page does not lead there")
		}
	}
}

// Everything the page names is there, immutable, and nothing else.
func TestAssets(t *testing.T) {
	h, _ := newHandler(t)
	body := ask(h, "GET", "/").Body.String()
	for name, path := range h.Pages.named {
		if !strings.Contains(body, path) && name != "ecg.js" {
			t.Errorf("the page does not use %s", name)
		}
		w := ask(h, "GET", path)
		if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Header().Get("Content-Type") == "" {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
}

func TestLanguage(t *testing.T) {
	h, _ := newHandler(t)
	w := ask(h, "GET", "/?lang=es")
	c := w.Result().Cookies()
	if w.Code != http.StatusSeeOther || len(c) != 1 || c[0].Value != "es" || !c[0].HttpOnly || c[0].SameSite != http.SameSiteLaxMode {
		t.Fatalf("got %d %v", w.Code, c)
	}
	if w := ask(h, "GET", "/", set("Cookie", "lang=es"), set("Accept-Language", "sv")); !strings.Contains(w.Body.String(), `<html lang="es">`) {
		t.Error("the choice is forgotten")
	}
	for _, bad := range []string{"/?lang=xx", "/?lang=../../etc", "/?lang=%0d%0aSet-Cookie:x=y"} {
		if w := ask(h, "GET", bad); w.Code != http.StatusOK || len(w.Result().Cookies()) != 0 {
			t.Errorf("%s: %d, %v", bad, w.Code, w.Result().Cookies())
		}
	}
}

func TestRefused(t *testing.T) {
	h, _ := newHandler(t)
	for _, c := range []struct {
		method, target, host string
		want                 int
	}{
		{"GET", "/", "gateway.internal:443", 200}, {"GET", "/", "10.20.0.1", 200}, {"GET", "/", "[fd00::1]:443", 200}, {"HEAD", "/", "GATEWAY.internal.", 200},
		{"GET", "/", "evil.example", 421}, {"GET", "/", "gateway.internal.evil.example", 421}, {"GET", "/", "", 421},
		{"POST", "/", "gateway.internal", 405}, {"DELETE", "/events", "gateway.internal", 405}, {"OPTIONS", "/", "gateway.internal", 405},
		{"GET", "/nothing", "gateway.internal", 404}, {"GET", "//", "gateway.internal", 404}, {"GET", "/a/", "gateway.internal", 404},
		{"GET", "/a/../../etc/passwd", "gateway.internal", 404}, {"GET", "/a/..%2f..%2fetc/passwd", "gateway.internal", 404},
		{"GET", "/asset/style.css", "gateway.internal", 404}, {"GET", "/panel.json", "gateway.internal", 404},
		{"GET", "/?" + strings.Repeat("x", 300), "gateway.internal", 414},
	} {
		if w := ask(h, c.method, c.target, func(r *http.Request) { r.Host = c.host }); w.Code != c.want || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %.40s of %s: got %d, want %d", c.method, c.target, c.host, w.Code, c.want)
		}
	}
}

func TestRate(t *testing.T) {
	h, _ := newHandler(t)
	from := func(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
	last := 0
	for range burst * 3 {
		last = ask(h, "GET", "/nothing", from("10.20.0.66:1000")).Code
	}
	if last != http.StatusTooManyRequests {
		t.Errorf("after %d requests at once: %d", burst*3, last)
	}
	if got := ask(h, "GET", "/", from("10.20.0.67:1000")).Code; got != http.StatusOK {
		t.Errorf("another computer: %d", got)
	}
	// Time gives it back; thousands of computers cost bounded memory.
	var l limit
	now := time.Now()
	for i := range 3 * maxBuckets {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		l.take(netip.PrefixFrom(addr, 32), now)
	}
	if len(l.buckets) > maxBuckets {
		t.Errorf("%d buckets", len(l.buckets))
	}
	one := who("[2001:db8::1]:1")
	if one != who("[2001:db8::2]:9") || one == who("[2001:db8:0:1::2]:9") || who("nonsense").IsValid() {
		t.Error("a computer is its /64")
	}
	for range 2 * burst {
		l.take(one, now)
	}
	if l.take(one, now) || !l.take(one, now.Add(time.Second)) || !l.take(who("nonsense"), now.Add(-time.Hour)) {
		t.Error("a bucket does not fill as it should")
	}
}

// listen opens an event stream on a real server.
func listen(t *testing.T, srv *httptest.Server, query string) (*http.Response, *bufio.Scanner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", srv.URL+"/events?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	s := bufio.NewScanner(resp.Body)
	s.Buffer(nil, 1<<20)
	return resp, s
}

// next is the next event.
func next(t *testing.T, s *bufio.Scanner) (event string, parts map[string]string) {
	t.Helper()
	for s.Scan() {
		if name, ok := strings.CutPrefix(s.Text(), "event: "); ok {
			event = name
		}
		if data, ok := strings.CutPrefix(s.Text(), "data: "); ok {
			if err := json.Unmarshal([]byte(data), &parts); err != nil {
				t.Fatal(err)
			}
			return event, parts
		}
	}
	t.Fatalf("the stream ended: %v", s.Err())
	return "", nil
}

func TestEvents(t *testing.T) {
	h, c := newHandler(t)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	resp, s := listen(t, srv, "lang=sv&page="+h.Pages.version)
	if resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got %v", resp.Header)
	}
	event, parts := next(t, s)
	if event != "parts" || len(parts) != len(sections) || !strings.Contains(parts["alarms"], "För teknikern") {
		t.Fatalf("first %s %v", event, parts)
	}
	c.name("Cuéllar")
	event, parts = next(t, s)
	if event != "parts" || len(parts) != 1 || !strings.Contains(parts["box"], "Cuéllar") {
		t.Errorf("then %s %v", event, parts)
	}
	if n := h.limit.Open(); n != 1 {
		t.Errorf("%d streams are open", n)
	}
	// A page of another release is told to load itself again.
	_, old := listen(t, srv, "lang=sv&page=older")
	if event, _ := next(t, old); event != "reload" {
		t.Errorf("an old page hears %s", event)
	}
}

// A computer has a few streams, the box not many more, and what ended is free.
func TestStreams(t *testing.T) {
	h, _ := newHandler(t)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	var all []*http.Response
	for range ofOne {
		resp, s := listen(t, srv, "page="+h.Pages.version)
		next(t, s)
		all = append(all, resp)
	}
	resp, _ := listen(t, srv, "page="+h.Pages.version)
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("stream %d: %s", ofOne+1, resp.Status)
	}
	for _, r := range all {
		r.Body.Close()
	}
	for end := time.Now().Add(20 * time.Second); h.limit.Open() > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d streams stay open", h.limit.Open())
		}
	}
	var l limit
	for i := range maxStreams {
		if _, ok := l.stream(who(fmt.Sprintf("10.0.0.%d:1", i))); !ok {
			t.Fatalf("stream %d is refused", i)
		}
	}
	if _, ok := l.stream(who("10.0.9.9:1")); ok {
		t.Error("more streams than the box has")
	}
}

// Whatever is asked, the answer is one of ours and carries the policy.
func FuzzHandler(f *testing.F) {
	f.Add("GET", "/", "gateway.internal", "sv", "lang=es")
	f.Add("GET", "/a/../page.html", "[::1]:80", "*;q=1", "lang=\"x\"; lang")
	f.Add("TRACE", "/?lang=%zz", "x", "", "")
	h, _ := newHandler(f)
	h.Ended = ended()
	f.Fuzz(func(t *testing.T, method, target, host, accept, cookie string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		h.limit = limit{}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, (&http.Request{
			Method: method, URL: u, Host: host, RemoteAddr: "10.0.0.1:1",
			Header: http.Header{"Accept-Language": {accept}, "Cookie": {cookie}},
		}).WithContext(ended()))
		if !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'; ") || w.Code == http.StatusInternalServerError {
			t.Errorf("%s %q: %d %v", method, target, w.Code, w.Header())
		}
		if _, err := io.ReadAll(w.Body); err != nil {
			t.Error(err)
		}
	})
}

func ended() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
