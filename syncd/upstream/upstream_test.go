package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/fhir"
)

const patient = `{"resourceType":"Patient","id":"p1","meta":{"versionId":"1"},"multipleBirthInteger":1.00}`

// ehr starts a server and a client of it with a short patience.
func ehr(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	return client(t, srv.URL+"/fhir/R4", 600*time.Millisecond)
}

func client(t *testing.T, base string, patience time.Duration) *Client {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	return New(u, patience)
}

func fhirJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/fhir+json; charset=utf-8")
	w.WriteHeader(status)
	io.WriteString(w, body)
}

var p1 = fhir.Ref{Type: "Patient", ID: "p1"}

func observations(t testing.TB) fhir.Search {
	t.Helper()
	s, err := fhir.ParseSearch("Observation", "patient=p1")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRead(t *testing.T) {
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/fhir/R4/Patient/p1" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("ETag", `W/"1"`)
		w.Header().Set("Cache-Control", "max-age=7")
		if r.Header.Get("If-None-Match") == `W/"1"` {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Last-Modified", "Sun, 22 Nov 2026 08:00:00 GMT")
		fhirJSON(w, 200, patient)
	})
	a, changed, err := c.Ask(t.Context(), p1, "")
	if err != nil || !changed || string(a.Body) != patient || a.ETag != `W/"1"` || a.LastModified == "" || a.Policy.MaxAge != 7*time.Second {
		t.Fatalf("got %+v %v %v", a, changed, err)
	}
	a, changed, err = c.Ask(t.Context(), p1, a.ETag)
	if err != nil || changed || a.Body != nil || a.Policy.MaxAge != 7*time.Second {
		t.Fatalf("revalidated: %+v %v %v", a, changed, err)
	}
	if contact, wrong := c.Status(); contact.IsZero() || wrong != "" || c.Down(time.Now()) != "" {
		t.Errorf("status %v %q", contact, wrong)
	}
}

// Whatever the EHR does, the answer is the right record or a typed error, soon.
func TestHostileEHR(t *testing.T) {
	bundle := func(entries, more string) string {
		return `{"resourceType":"Bundle","type":"searchset","entry":[` + entries + `]` + more + `}`
	}
	obs := func(patient string) string {
		return `{"resource":{"resourceType":"Observation","id":"o","subject":{"reference":"Patient/` + patient + `"}}}`
	}
	say := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fhirJSON(w, status, body) }
	}
	s := observations(t)
	for name, c := range map[string]struct {
		ask  fhir.Query
		do   http.HandlerFunc
		want error
	}{
		"portal page": {p1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>Sign in to the guest network")
		}, fhir.ErrNonsense},
		"html called FHIR": {p1, say(200, "<html>"), fhir.ErrNonsense},
		"redirect": {p1, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.9/", http.StatusFound)
		}, fhir.ErrNonsense},
		"no content type": {p1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, patient)
		}, fhir.ErrNonsense},
		"xml": {p1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/fhir+xml")
			io.WriteString(w, "<Patient/>")
		}, fhir.ErrNonsense},
		"empty":               {p1, say(200, ""), fhir.ErrNonsense},
		"no content":          {p1, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, fhir.ErrNonsense},
		"another patient":     {p1, say(200, strings.Replace(patient, "p1", "p2", 1)), fhir.ErrForeign},
		"another type":        {p1, say(200, `{"resourceType":"Person","id":"p1"}`), fhir.ErrForeign},
		"two ids":             {p1, say(200, `{"resourceType":"Patient","id":"p1","ID":"p2"}`), fhir.ErrNonsense},
		"no id":               {p1, say(200, `{"resourceType":"Patient"}`), fhir.ErrForeign},
		"cut JSON":            {p1, say(200, patient[:40]), fhir.ErrNonsense},
		"two resources":       {p1, say(200, patient+patient), fhir.ErrNonsense},
		"304 unasked":         {p1, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, fhir.ErrNonsense},
		"404 of a proxy":      {p1, func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }, fhir.ErrNonsense},
		"404 of another kind": {p1, say(404, patient), fhir.ErrNonsense},
		"503":                 {p1, say(503, ""), fhir.ErrUnreachable},
		"429":                 {p1, say(429, ""), fhir.ErrUnreachable},
		"hangs up":            {p1, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, fhir.ErrUnreachable},
		"cut body": {p1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "5000")
			fhirJSON(w, 200, patient)
		}, fhir.ErrUnreachable},
		"never answers": {p1, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, fhir.ErrUnreachable},
		"slow loris": {p1, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/fhir+json")
			for i := 0; r.Context().Err() == nil; i++ {
				io.WriteString(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(50 * time.Millisecond)
			}
		}, fhir.ErrUnreachable},
		"a gigabyte": {p1, flood, fhir.ErrNonsense},
		"huge headers": {p1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 100<<10))
			fhirJSON(w, 200, patient)
		}, fhir.ErrUnreachable},
		"bundle: another's":   {s, say(200, bundle(obs("p1")+","+obs("p2"), "")), fhir.ErrForeign},
		"bundle: nobody's":    {s, say(200, bundle(`{"resource":{"resourceType":"Observation","id":"o"}}`, "")), fhir.ErrForeign},
		"bundle: other type":  {s, say(200, bundle(`{"resource":`+patient+`}`, "")), fhir.ErrForeign},
		"bundle: a patient":   {s, say(200, patient), fhir.ErrNonsense},
		"bundle: lost some":   {s, say(200, bundle(obs("p1"), `,"total":9`)), fhir.ErrNonsense},
		"bundle: other host":  {s, say(200, bundle(obs("p1"), `,"link":[{"relation":"next","url":"http://192.0.2.9/fhir/R4/x"}]`)), fhir.ErrNonsense},
		"bundle: other path":  {s, say(200, bundle(obs("p1"), `,"link":[{"relation":"next","url":"/fhir/R4/../../admin"}]`)), fhir.ErrNonsense},
		"bundle: endless":     {s, say(200, bundle(obs("p1"), `,"link":[{"relation":"next","url":"Observation?again"}]`)), fhir.ErrNonsense},
		"bundle: big, paged":  {s, say(200, bundle(strings.Repeat(" ", 3<<20), `,"link":[{"relation":"next","url":"Observation?again"}]`)), fhir.ErrNonsense},
		"search: not allowed": {s, say(401, "login"), fhir.ErrNonsense},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := ehr(t, c.do)
			if name == "a gigabyte" || strings.HasPrefix(name, "bundle") {
				cl.timeout = 20 * time.Second // its bound is bytes or pages, not time
			}
			start := time.Now()
			a, _, err := cl.Ask(t.Context(), c.ask, "")
			if !errors.Is(err, c.want) || a.Body != nil {
				t.Fatalf("got %d bytes, %v; want %v", len(a.Body), err, c.want)
			}
			if errors.Is(err, fhir.ErrNonsense) == errors.Is(err, fhir.ErrUnreachable) {
				t.Errorf("%v is both or neither", err)
			}
			for _, secret := range []string{"p1", "p2", "Sign in", "fhir/R4"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the error quotes %q: %v", secret, err)
				}
			}
			t.Logf("%v after %v", err, time.Since(start).Round(time.Millisecond))
		})
	}
}

// flood sends for ever.
func flood(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/fhir+json")
	block := strings.Repeat(" ", 1<<20)
	for r.Context().Err() == nil {
		if _, err := io.WriteString(w, block); err != nil {
			return
		}
	}
}

func TestRefusal(t *testing.T) {
	outcome := `{"resourceType":"OperationOutcome","issue":[]}`
	for _, status := range []int{401, 403, 404, 410} {
		c := ehr(t, func(w http.ResponseWriter, _ *http.Request) { fhirJSON(w, status, outcome) })
		_, _, err := c.Ask(t.Context(), p1, "")
		var no *fhir.Refusal
		if !errors.As(err, &no) || no.Status != status || string(no.Body) != outcome {
			t.Errorf("%d: got %v", status, err)
		}
		if c.Down(time.Now()) != "" {
			t.Errorf("%d: an EHR that answers is not down", status)
		}
	}
}

func TestSearchFollowsPages(t *testing.T) {
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		n := r.URL.Query().Get("page")
		next := map[string]string{"": "Observation?page=1", "1": "http://" + r.Host + "/fhir/R4/Observation?page=2", "2": ""}[n]
		link := ""
		if next != "" {
			link = `,"link":[{"relation":"next","url":"` + next + `"}]`
		} else {
			w.Header().Set("Cache-Control", "no-store")
		}
		if n == "" && r.URL.RawQuery != "patient=Patient/p1&_count=500" {
			t.Errorf("asked %q", r.URL.RawQuery)
		}
		w.Header().Set("ETag", "page")
		fhirJSON(w, 200, `{"resourceType":"Bundle","type":"searchset","total":3,"entry":[{"resource":{"resourceType":"Observation","id":"o`+n+
			`","subject":{"reference":"Patient/p1"},"valueQuantity":{"value":1.00}}}]`+link+`}`)
	})
	a, changed, err := c.Ask(t.Context(), observations(t), "")
	if err != nil || !changed || a.ETag != "" || !a.Policy.NoStore {
		t.Fatalf("got %+v %v %v", a, changed, err)
	}
	if n := strings.Count(string(a.Body), `"value":1.00`); n != 3 {
		t.Errorf("%d entries in %s", n, a.Body)
	}
}

// Readers of the same record share one question, and one who leaves does not
// take the answer from the others.
func TestCoalescing(t *testing.T) {
	var asked atomic.Int32
	release := make(chan struct{})
	c := ehr(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		<-release
		fhirJSON(w, 200, patient)
	})
	c.timeout = 10 * time.Second
	leaver, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, _, err := c.Ask(leaver, p1, ""); left <- err }()
	for asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if a, _, err := c.Ask(t.Context(), p1, ""); err != nil || string(a.Body) != patient {
				t.Errorf("got %v", err)
			}
		})
	}
	leave()
	if err := <-left; !errors.Is(err, fhir.ErrUnreachable) {
		t.Errorf("the one who left got %v", err)
	}
	time.Sleep(20 * time.Millisecond) // the readers are waiting by now
	close(release)
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// The line under a kept connection dies without a word: the second question,
// on a connection of its own, is answered.
func TestSilentlyDeadConnection(t *testing.T) {
	var mu sync.Mutex
	var dead []net.Conn
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fhirJSON(w, 200, patient) }))
	srv.Start()
	t.Cleanup(srv.Close)
	// A tunnel that swallows what its old connections send once it is cut.
	var cut atomic.Int64
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range dead {
			c.Close()
		}
	})
	go func() {
		for n := int64(1); ; n++ {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				return
			}
			mu.Lock()
			dead = append(dead, in, out)
			mu.Unlock()
			go io.Copy(in, out)
			go func() {
				buf := make([]byte, 4096)
				for {
					k, err := in.Read(buf)
					if err != nil {
						return
					}
					if n > cut.Load() {
						out.Write(buf[:k])
					}
				}
			}()
		}
	}()
	c := client(t, "http://"+l.Addr().String()+"/fhir/R4", 3*time.Second)
	if _, _, err := c.Ask(t.Context(), p1, ""); err != nil {
		t.Fatal(err)
	}
	cut.Store(1)
	if a, _, err := c.Ask(t.Context(), p1, ""); err != nil || string(a.Body) != patient {
		t.Fatalf("after the line died: %v", err)
	}
}

// The way out changes while a question is in flight: it goes out anew at once,
// and when there is no way left it ends at once.
func TestWayChangesInFlight(t *testing.T) {
	asked := make(chan struct{}, 10)
	var answers atomic.Bool
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		if !answers.Load() {
			<-r.Context().Done()
			return
		}
		fhirJSON(w, 200, patient)
	})
	c.timeout = time.Minute // so that only the change can start the second
	via := func(name string) { c.Follow(&wire.Net{Uplinks: []wire.Uplink{{}}, Active: name}) }
	via("isp-a")
	done := make(chan error, 1)
	ask := func() {
		go func() {
			_, _, err := c.Ask(t.Context(), p1, "")
			done <- err
		}()
		<-asked
	}
	ask()
	answers.Store(true)
	via("isp-b")
	if err := <-done; err != nil {
		t.Fatalf("after the way changed: %v", err)
	}
	answers.Store(false)
	<-asked
	ask()
	via("")
	if err := <-done; !errors.Is(err, fhir.ErrUnreachable) || !strings.Contains(err.Error(), "no internet provider") {
		t.Fatalf("after the last way went: %v", err)
	}
}

func TestDown(t *testing.T) {
	good := atomic.Bool{}
	c := ehr(t, func(w http.ResponseWriter, _ *http.Request) {
		if !good.Load() {
			panic(http.ErrAbortHandler)
		}
		fhirJSON(w, 200, patient)
	})
	now := time.Now()
	if why := c.Down(now); why != "" {
		t.Fatalf("down before it was asked: %s", why)
	}
	c.Ask(t.Context(), p1, "")
	if c.Down(time.Now()) == "" {
		t.Fatal("not down after no answer")
	}
	if why := c.Down(time.Now().Add(rest)); why != "" {
		t.Fatalf("no second chance: %s", why)
	}
	c.Follow(&wire.Net{Uplinks: []wire.Uplink{{}}, Active: "isp-a"})
	c.Follow(&wire.Net{Uplinks: []wire.Uplink{{}}, Active: "isp-b"})
	if why := c.Down(time.Now()); why != "" {
		t.Errorf("the way out changed, and still %s", why)
	}
	c.Follow(&wire.Net{Uplinks: []wire.Uplink{{}}})
	start := time.Now()
	_, _, err := c.Ask(t.Context(), p1, "")
	if !errors.Is(err, fhir.ErrUnreachable) || time.Since(start) > c.timeout/4 || !strings.Contains(c.Down(time.Now()), "no internet provider") {
		t.Errorf("without a provider: %v after %v", err, time.Since(start))
	}
	good.Store(true)
	c.Follow(&wire.Net{Uplinks: []wire.Uplink{{}}, Active: "isp-b"})
	if _, _, err := c.Ask(t.Context(), p1, ""); err != nil || c.Down(time.Now()) != "" {
		t.Errorf("after it came back: %v", err)
	}
}

func TestPath(t *testing.T) {
	up, down := wire.Tunnel{State: wire.TunnelUp}, wire.Tunnel{State: wire.TunnelDown}
	link := []wire.Uplink{{Name: "isp-a"}}
	for _, c := range []struct {
		net  *wire.Net
		host string
		want bool
	}{
		{nil, "10.98.1.10", true},
		{&wire.Net{}, "10.98.1.10", true},
		{&wire.Net{Uplinks: link}, "10.98.1.10", false},
		{&wire.Net{Uplinks: link, Active: "isp-a"}, "10.98.1.10", true},
		{&wire.Net{Uplinks: link, Active: "isp-a", Tunnels: []wire.Tunnel{down}}, "10.98.1.10", false},
		{&wire.Net{Uplinks: link, Active: "isp-a", Tunnels: []wire.Tunnel{down, up}}, "10.98.1.10", true},
		{&wire.Net{Uplinks: link, Active: "isp-a", Tunnels: []wire.Tunnel{down}}, "192.0.2.7", true},
		{&wire.Net{Uplinks: link, Active: "isp-a", Tunnels: []wire.Tunnel{down}}, "ehr.example", true},
	} {
		reason, ok := Path(c.net, c.host)
		if ok != c.want || ok == (reason != "") {
			t.Errorf("%+v %s: got %v %q", c.net, c.host, ok, reason)
		}
	}
}

// Large answers take turns, and a crowd of them costs no more memory than one.
func TestLargeAnswersTakeTurns(t *testing.T) {
	var inside, most atomic.Int32
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		fhirJSON(w, 200, `{"resourceType":"Binary","id":"`+id+`","data":"`)
		block := strings.Repeat("A", 1<<20)
		for i := range 12 {
			if i == 6 { // beyond what a socket holds: someone is taking it in
				n := inside.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
			}
			io.WriteString(w, block)
		}
		inside.Add(-1)
		io.WriteString(w, `"}`)
	})
	c.timeout = time.Minute
	var wg sync.WaitGroup
	for i := range 5 {
		wg.Go(func() {
			a, _, err := c.Ask(t.Context(), fhir.Ref{Type: "Binary", ID: fmt.Sprint(i)}, "")
			if err != nil || len(a.Body) < 12<<20 {
				t.Errorf("%d bytes, %v", len(a.Body), err)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > 2 { // one in turn, and one whose end the socket still holds
		t.Errorf("%d large answers at once", n)
	}
	if len(c.large) != 0 {
		t.Error("the turn was not given back")
	}
}

func TestCrowd(t *testing.T) {
	var inside, most atomic.Int32
	c := ehr(t, func(w http.ResponseWriter, r *http.Request) {
		n := inside.Add(1)
		defer inside.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		time.Sleep(5 * time.Millisecond)
		id := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		fhirJSON(w, 200, `{"resourceType":"Patient","id":"`+id+`"}`)
	})
	c.timeout = 20 * time.Second
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if _, _, err := c.Ask(t.Context(), fhir.Ref{Type: "Patient", ID: fmt.Sprint(i)}, ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if most.Load() > maxInside {
		t.Errorf("%d at once, want at most %d", most.Load(), maxInside)
	}
}
