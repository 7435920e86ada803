package ehr_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/image/lab/ehr"
)

const modules = "../../../build/lab/ehr"

// peer is the EHR under test and an HTTP client in its namespace.
type peer struct {
	t *testing.T
	*ehr.Server
	http http.Client
}

func start(t *testing.T) *peer {
	lab.Require(t, lab.Root, ehr.Installed(modules))
	s, err := netns.New(fmt.Sprintf("cg-ehrt%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	bundles := []string{"practitioners", "hospitals", "cecelia-romaguera"}
	for i, b := range bundles {
		bundles[i] = "../testdata/synthea/" + b + ".json.gz"
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	server, err := ehr.Start(ctx, ehr.Config{
		Space: s, Dir: modules, Listen: "127.0.0.1:8103", Bundles: bundles, Log: filepath.Join(t.TempDir(), "ehr.log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Proc.Kill)
	return &peer{t, server, http.Client{Transport: &http.Transport{DialContext: s.DialContext}, Timeout: 10 * time.Second}}
}

// do sends a request; headers are "Name: value".
func (p *peer) do(method, path, body string, headers ...string) (*http.Response, map[string]any) {
	p.t.Helper()
	resp, data, err := p.try(method, path, body, headers...)
	if err != nil {
		p.t.Fatal(err)
	}
	var got map[string]any
	if len(data) > 0 && json.Unmarshal(data, &got) != nil {
		p.t.Fatalf("%s %s: no JSON: %.200s", method, path, data)
	}
	return resp, got
}

func (p *peer) try(method, path, body string, headers ...string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, "http://127.0.0.1:8103/fhir/R4"+path, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp, data, err
}

func (p *peer) want(status int, method, path, body string, headers ...string) (*http.Response, map[string]any) {
	p.t.Helper()
	resp, got := p.do(method, path, body, headers...)
	if resp.StatusCode != status {
		p.t.Errorf("%s %s %v: got %s, want %d: %.300v", method, path, headers, resp.Status, status, got)
	}
	return resp, got
}

// TestTheShell covers what our few lines add to the server nobody here wrote, and
// what of that server the project counts on.
func TestTheShell(t *testing.T) {
	p := start(t)
	_, found := p.want(200, "GET", "/Patient?family=Romaguera67", "")
	patient := found["entry"].([]any)[0].(map[string]any)["resource"].(map[string]any)["id"].(string)
	path := "/Patient/" + patient

	resp, _ := p.want(200, "GET", path, "")
	etag := resp.Header.Get("ETag")
	if !strings.HasPrefix(etag, `W/"`) || resp.Header.Get("Last-Modified") == "" {
		t.Errorf("headers of a read: %v", resp.Header)
	}
	p.want(304, "GET", path, "", "If-None-Match: "+etag)
	p.want(200, "GET", path, "", `If-None-Match: W/"another"`)
	p.want(404, "GET", "/Patient/00000000-0000-4000-8000-000000000000", "")
	p.want(412, "PUT", path, `{"resourceType":"Patient","id":"`+patient+`"}`, `If-Match: W/"another"`)
	p.want(400, "POST", "/Patient", `{"resourceType":"Patient","nme":[]}`)
	p.want(400, "POST", "/Patient", `{"resourceType":`)

	created := `{"resourceType":"Patient","identifier":[{"system":"urn:s","value":"1"}]}`
	p.want(201, "POST", "/Patient", created, "If-None-Exist: identifier=urn:s|1")
	p.want(200, "POST", "/Patient", created, "If-None-Exist: identifier=urn:s|1")

	_, obs := p.want(200, "GET", "/Observation?patient="+patient+"&_count=5", "")
	if n := len(obs["entry"].([]any)); n != 5 {
		t.Errorf("got %d Observations, want 5", n)
	}

	tx := `{"resourceType":"Bundle","type":"transaction","entry":[
		{"fullUrl":"urn:uuid:1","resource":{"resourceType":"Binary","contentType":"text/plain","data":"aGk="},"request":{"method":"POST","url":"Binary"}},
		{"resource":{"resourceType":"DocumentReference","status":"current","content":[{"attachment":{"url":"urn:uuid:1"}}],
		  "identifier":[{"system":"urn:s","value":"tx"}]},"request":{"method":"POST","url":"DocumentReference","ifNoneExist":"identifier=urn:s|tx"}}]}`
	p.want(200, "POST", "", tx)
	count := 0
	all, err := p.Dump()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Type == "DocumentReference" && strings.Contains(string(r.Raw), `"tx"`) {
			count++
		}
	}
	if count != 1 {
		t.Errorf("ground truth has %d documents of the transaction, want 1", count)
	}
}

func TestFaults(t *testing.T) {
	p := start(t)
	play := func(f ehr.Faults) {
		t.Helper()
		if err := p.Play(f); err != nil {
			t.Fatal(err)
		}
	}
	play(ehr.Faults{Down: true})
	if resp, _, err := p.try("GET", "/metadata", ""); err == nil {
		t.Errorf("answered while down: %s", resp.Status)
	}
	play(ehr.Faults{FailNext: 1, FailStatus: 500})
	p.want(500, "GET", "/metadata", "")
	p.want(200, "GET", "/metadata", "")
	play(ehr.Faults{Nonsense: true})
	if resp, body, err := p.try("GET", "/metadata", ""); err != nil || resp.StatusCode != 200 || json.Valid(body) {
		t.Errorf("nonsense: got %v %.80s", err, body)
	}
	play(ehr.Faults{DropAfterCommit: 1})
	if resp, _, err := p.try("POST", "/Patient", `{"resourceType":"Patient","identifier":[{"system":"urn:s","value":"lost"}]}`); err == nil {
		t.Errorf("answered: %s", resp.Status)
	}
	_, found := p.want(200, "GET", "/Patient?identifier=urn:s|lost", "")
	if entries, _ := found["entry"].([]any); len(entries) != 1 {
		t.Errorf("the unanswered request left %d patients, want 1", len(entries))
	}
	play(ehr.Faults{})
	p.want(200, "GET", "/metadata", "")
}
