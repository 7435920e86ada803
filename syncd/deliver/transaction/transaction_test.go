package transaction

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/image/lab/ehr"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/format"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/submission"
)

const modules = "../../../build/lab/ehr"

// startEHR starts a real FHIR server that nobody here wrote and returns it and a
// sender to it.
func startEHR(t *testing.T) (*ehr.Server, *Sender) {
	t.Helper()
	lab.Require(t, lab.Root, ehr.Installed(modules))
	space, err := netns.New(fmt.Sprintf("store-tx%d", os.Getpid()))
	must(t, err)
	t.Cleanup(func() { space.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := ehr.Start(ctx, ehr.Config{Space: space, Dir: modules, Listen: "127.0.0.1:8103", Log: filepath.Join(t.TempDir(), "ehr.log")})
	must(t, err)
	t.Cleanup(server.Proc.Kill)
	door := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: "127.0.0.1:8103"})
	door.Transport = &http.Transport{DialContext: space.DialContext}
	door.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	front := httptest.NewServer(door)
	t.Cleanup(front.Close)
	return server, sender(t, front.URL+"/fhir/R4")
}

func sender(t *testing.T, base string) *Sender {
	t.Helper()
	u, err := url.Parse(base)
	must(t, err)
	return &Sender{Client: deliver.NewClient(u, "", "")}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const request = `{"resourceType":"Bundle","type":"transaction","entry":[
 {"fullUrl":"urn:uuid:1","resource":{"resourceType":"ServiceRequest","status":"active","intent":"order","code":{"text":"look"},"subject":{"reference":"Patient/p1"}},"request":{"method":"POST","url":"ServiceRequest"}},
 {"fullUrl":"urn:uuid:2","resource":{"resourceType":"Communication","status":"completed","basedOn":[{"reference":"urn:uuid:1"}],"payload":[{"contentString":"%s"}]},"request":{"method":"POST","url":"Communication"}}]}`

func parse(t *testing.T, text string) (*submission.Submission, queue.Item, deliver.Body) {
	t.Helper()
	s, err := submission.Parse([]byte(text), "seed", "")
	must(t, err)
	it := queue.Item{Key: "fhir:1", Kind: format.FHIR, Origin: "desk-1", Size: int64(len(s.Body)), Meta: map[string]string{}}
	return s, it, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.Body)), nil }
}

// count says how many of a type the server has.
func count(t *testing.T, server *ehr.Server, typ string) (n int, last []byte) {
	t.Helper()
	all, err := server.Dump()
	must(t, err)
	for _, r := range all {
		if r.Type == typ {
			n++
			last = r.Raw
		}
	}
	return n, last
}

func TestStoredOnce(t *testing.T) {
	server, s := startEHR(t)
	sub, it, body := parse(t, fmt.Sprintf(request, "what is it?"))
	proof, err := s.Send(t.Context(), it, false, body)
	must(t, err)
	if proof != "stored, read back the same" {
		t.Errorf("proof: %s", proof)
	}
	if _, raw := count(t, server, "Communication"); !strings.Contains(string(raw), sub.Refs[0].String()) || !strings.Contains(string(raw), sub.Refs[1].ID) {
		t.Errorf("stored: %s", raw)
	}
	proof, err = s.Send(t.Context(), it, true, body)
	must(t, err)
	if proof != "found there" {
		t.Errorf("again: %s", proof)
	}

	// The answer is lost behind the commit: what is there is found, not sent again.
	must(t, server.Play(ehr.Faults{DropAfterCommit: 3})) // two questions and the transaction
	_, it, body = parse(t, fmt.Sprintf(request, "and this?"))
	for tries := 0; ; tries++ {
		if _, err = s.Send(t.Context(), it, tries > 0, body); err == nil {
			break
		}
		var f *deliver.Failure
		if !errors.As(err, &f) || f.Kind != deliver.Unreachable || tries == 5 {
			t.Fatalf("a lost answer: %v", err)
		}
	}
	if n, _ := count(t, server, "Communication"); n != 2 {
		t.Errorf("%d communications, want 2", n)
	}
}

// A patient named by number is referred to where the EHR's id is known.
func TestReferred(t *testing.T) {
	server, s := startEHR(t)
	_, it, body := parse(t, `{"resourceType":"Media","status":"completed","subject":{"identifier":{"value":"4711"}},"content":{"contentType":"text/plain","data":"aGVsbG8="}}`)
	it.Meta[queue.MetaPatientRef] = "Patient/p1"
	_, err := s.Send(t.Context(), it, false, body)
	must(t, err)
	if _, raw := count(t, server, "Media"); !strings.Contains(string(raw), `"reference":"Patient/p1"`) || !strings.Contains(string(raw), "4711") {
		t.Errorf("stored: %s", raw)
	}
}

// fake answers as a test wants, by method.
func fake(t *testing.T, answers map[string]http.HandlerFunc) *Sender {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answers[r.Method](w, r) }))
	t.Cleanup(srv.Close)
	return sender(t, srv.URL)
}

func says(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func TestFailures(t *testing.T) {
	const none = `{"resourceType":"OperationOutcome"}`
	sub, it, body := parse(t, fmt.Sprintf(request, "x"))
	first := `{"resourceType":"ServiceRequest","id":"` + sub.Refs[0].ID + `"}`
	half := func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/ServiceRequest") {
			says(200, first)(w, r)
			return
		}
		says(404, none)(w, r)
	}
	for name, c := range map[string]struct {
		get, post http.HandlerFunc
		kind      deliver.Kind
	}{
		"no FHIR server":       {says(404, "<html>"), nil, deliver.Refusing},
		"not let in":           {says(401, ""), nil, deliver.Refusing},
		"deleted":              {says(410, none), nil, deliver.Refused},
		"answers another":      {says(200, `{"resourceType":"Patient","id":"x"}`), nil, deliver.Refusing},
		"half of it is there":  {half, nil, deliver.Refused},
		"refused":              {says(404, none), says(422, `{"resourceType":"OperationOutcome","issue":[{"code":"invalid"}]}`), deliver.Refused},
		"busy":                 {says(404, none), says(503, ""), deliver.Unreachable},
		"there in between":     {says(404, none), says(412, none), deliver.Troubled},
		"answers nonsense":     {says(404, none), says(200, `{"resourceType":"Bundle"}`), deliver.Troubled},
		"says so, has nothing": {says(404, none), says(200, `{"resourceType":"Bundle","entry":[{"response":{"status":"201"}},{"response":{"status":"201"}}]}`), deliver.Troubled},
		"an entry refused":     {says(404, none), says(200, `{"resourceType":"Bundle","entry":[{"response":{"status":"201"}},{"response":{"status":"400"}}]}`), deliver.Refused},
	} {
		_, err := fake(t, map[string]http.HandlerFunc{"GET": c.get, "POST": c.post}).Send(t.Context(), it, false, body)
		var f *deliver.Failure
		if !errors.As(err, &f) || f.Kind != c.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDiffers(t *testing.T) {
	sent := map[string]any{"a": 1.0, "b": []any{"x", map[string]any{"c": true}}, "meta": "ours"}
	for name, c := range map[string]struct {
		got  any
		want string
	}{
		"added":         {map[string]any{"a": 1.0, "b": []any{"x", map[string]any{"c": true, "d": 1.0}}, "meta": "theirs", "text": ""}, ""},
		"changed":       {map[string]any{"a": 2.0, "b": sent["b"]}, "X.a"},
		"changed below": {map[string]any{"a": 1.0, "b": []any{"x", map[string]any{"c": false}}}, "X.b[1].c"},
		"fewer":         {map[string]any{"a": 1.0, "b": []any{"x"}}, "X.b"},
		"gone":          {map[string]any{"a": 1.0}, "X.b"},
		"another thing": {"a", "X"},
	} {
		if got := differs(sent, c.got, "X"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
