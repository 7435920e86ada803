package upload

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab/pki"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/ingest/memqueue"
	"clinicgate/syncd/partial"
	"clinicgate/syncd/trail"
	"clinicgate/syncd/vault"
)

// A node is the handler behind TLS, with a queue in memory; the parts are on disk.
type node struct {
	t     *testing.T
	queue *memqueue.Queue
	trail *entries
	parts *partial.Store
	srv   *httptest.Server
	world *pki.World
}

type entries struct {
	mu   sync.Mutex
	all  []trail.Entry
	fail error
}

func (e *entries) Append(one trail.Entry) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, one)
	return e.fail
}

func newNode(t *testing.T) *node {
	t.Helper()
	v, err := vault.Open(t.TempDir())
	must(t, err)
	n := &node{t: t, queue: &memqueue.Queue{}, trail: &entries{}}
	n.parts, _, err = partial.Open(t.TempDir(), v.Domain("uploads"), partial.Limits{})
	must(t, err)
	n.world, err = pki.New(time.Now())
	must(t, err)
	h := New(Options{
		Door: ingest.New(n.queue, &memqueue.Faults{}), Parts: n.parts, Trail: n.trail,
		Roster: func() *grant.Roster { return nil }, Devices: []string{"holter-1", "pacs"}, Log: slog.New(slog.DiscardHandler),
	})
	pool := x509.NewCertPool()
	pool.AddCert(n.world.Devices.Cert)
	n.srv = httptest.NewUnstartedServer(h)
	n.srv.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	n.srv.StartTLS()
	t.Cleanup(n.srv.Close)
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// do sends a request as a device and returns the answer and its body.
func (n *node) do(device, method, path string, body io.Reader, header map[string]string) (*http.Response, string) {
	n.t.Helper()
	d, err := n.world.Client("mqtt", device)
	must(n.t, err)
	client := n.srv.Client()
	client.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{d.TLS()}
	client.CloseIdleConnections()
	r, err := http.NewRequest(method, n.srv.URL+path, body)
	must(n.t, err)
	for k, v := range header {
		r.Header.Set(k, v)
	}
	resp, err := client.Do(r)
	must(n.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(n.t, err)
	return resp, string(text)
}

func (n *node) want(status int, resp *http.Response, text string) {
	n.t.Helper()
	if resp.StatusCode != status {
		n.t.Fatalf("got %d, want %d: %s", resp.StatusCode, status, text)
	}
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	must(t, err)
	return b
}

const (
	scp = "../format/testdata/ecgtoolkit_example.scp"
	ecg = "../dataset/testdata/anonymous_12lead_1000Hz.dcm"
)

func TestPost(t *testing.T) {
	n := newNode(t)
	for _, name := range []string{scp, ecg, scp} {
		body := file(t, name)
		sum := sha256.Sum256(body)
		resp, text := n.do("holter-1", "POST", PostPath, bytes.NewReader(body), map[string]string{
			"Repr-Digest": "sha-256=:" + base64.StdEncoding.EncodeToString(sum[:]) + ":",
		})
		n.want(http.StatusCreated, resp, text)
	}
	if items := n.queue.Items(); len(items) != 2 || items[0].Origin != "holter-1" {
		t.Errorf("%d items, want 2", len(items))
	}
	if len(n.trail.all) != 0 {
		t.Error("a device's upload is in the trail of persons")
	}
}

func TestPostRefused(t *testing.T) {
	n := newNode(t)
	body := file(t, scp)
	wrong := base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, c := range map[string]struct {
		device string
		body   io.Reader
		header map[string]string
		status int
	}{
		"a device the site does not name": {"desk-1", bytes.NewReader(body), nil, 401},
		"a token nobody vouches for":      {"holter-1", bytes.NewReader(body), map[string]string{"Authorization": "Bearer x"}, 401},
		"no length":                       {"holter-1", io.MultiReader(bytes.NewReader(body)), nil, 411},
		"another digest":                  {"holter-1", bytes.NewReader(body), map[string]string{"Repr-Digest": "sha-256=:" + wrong + ":"}, 422},
		"a digest that is none":           {"holter-1", bytes.NewReader(body), map[string]string{"Repr-Digest": "md5=:x:"}, 400},
		"garbage":                         {"holter-1", strings.NewReader("not an ECG"), nil, 422},
		"an ECG cut short":                {"holter-1", bytes.NewReader(body[:1000]), nil, 422},
	} {
		if resp, text := n.do(c.device, "POST", PostPath, c.body, c.header); resp.StatusCode != c.status || !strings.Contains(text, `"detail"`) {
			t.Errorf("%s: got %d, want %d: %s", name, resp.StatusCode, c.status, text)
		}
	}
	n.queue.SetFull(true)
	if resp, text := n.do("holter-1", "POST", PostPath, bytes.NewReader(body), nil); resp.StatusCode != 507 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("full: got %d: %s", resp.StatusCode, text)
	}
	n.queue.SetFull(false)
	n.queue.SetError(memqueue.ErrDisk)
	if resp, _ := n.do("holter-1", "POST", PostPath, bytes.NewReader(body), nil); resp.StatusCode != 503 {
		t.Errorf("disk: got %d", resp.StatusCode)
	}
	if len(n.queue.Items()) != 0 {
		t.Error("something was kept")
	}
}

// tusClient is one upload by hand.
type tusClient struct {
	*node
	url string
}

func (c *tusClient) call(method, url string, body io.Reader, header ...string) (*http.Response, string) {
	c.t.Helper()
	h := map[string]string{"Tus-Resumable": "1.0.0"}
	for i := 0; i < len(header); i += 2 {
		h[header[i]] = header[i+1]
	}
	return c.do("holter-1", method, url, body, h)
}

func (n *node) tus(total int, metadata string) *tusClient {
	n.t.Helper()
	c := &tusClient{node: n}
	resp, text := c.call("POST", TusPath, nil, "Upload-Length", fmt.Sprint(total), "Upload-Metadata", metadata)
	n.want(http.StatusCreated, resp, text)
	c.url = resp.Header.Get("Location")
	if resp.Header.Get("Upload-Expires") == "" || !strings.HasPrefix(c.url, TusPath) {
		n.t.Fatalf("created: %v", resp.Header)
	}
	return c
}

func (c *tusClient) patch(at int, piece []byte, header ...string) (*http.Response, string) {
	c.t.Helper()
	header = append(header, "Upload-Offset", fmt.Sprint(at), "Content-Type", "application/offset+octet-stream")
	return c.call("PATCH", c.url, bytes.NewReader(piece), header...)
}

func (c *tusClient) offset() string {
	c.t.Helper()
	resp, text := c.call("HEAD", c.url, nil)
	c.want(http.StatusOK, resp, text)
	if resp.Header.Get("Cache-Control") != "no-store" {
		c.t.Error("an offset that may be cached")
	}
	return resp.Header.Get("Upload-Offset")
}

func TestTus(t *testing.T) {
	n := newNode(t)
	body := file(t, ecg)
	sum := sha256.Sum256(body)
	c := n.tus(len(body), "filename eA==,sha256 "+base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%x", sum)))
	resp, text := c.patch(0, body[:1000])
	n.want(http.StatusNoContent, resp, text)
	resp, text = c.patch(999, body[999:])
	n.want(http.StatusConflict, resp, text)
	piece := body[1000:2000]
	sum1 := sha1.Sum(piece)
	resp, text = c.patch(1000, piece, "Upload-Checksum", "sha1 "+base64.StdEncoding.EncodeToString(sum1[1:]))
	n.want(statusChecksum, resp, text)
	resp, text = c.patch(1000, piece, "Upload-Checksum", "crc32 AAAA")
	n.want(http.StatusBadRequest, resp, text)
	if o := c.offset(); o != "1000" {
		t.Fatalf("offset %s, want 1000", o)
	}
	resp, text = c.patch(1000, piece, "Upload-Checksum", "sha1 "+base64.StdEncoding.EncodeToString(sum1[:]))
	n.want(http.StatusNoContent, resp, text)
	// Whole, but the queue has no room: not a word of the full length.
	n.queue.SetFull(true)
	resp, text = c.patch(2000, body[2000:])
	n.want(http.StatusInsufficientStorage, resp, text)
	if resp, _ := c.call("HEAD", c.url, nil); resp.StatusCode != http.StatusInsufficientStorage || resp.Header.Get("Upload-Offset") != "" {
		t.Errorf("HEAD of what is not in the queue: %d %v", resp.StatusCode, resp.Header)
	}
	n.queue.SetFull(false)
	for range 2 { // the first hands it over, the second knows
		if o := c.offset(); o != fmt.Sprint(len(body)) {
			t.Fatalf("offset %s, want %d", o, len(body))
		}
	}
	if items := n.queue.Items(); len(items) != 1 || !bytes.Equal(items[0].Body, body) {
		t.Errorf("%d items", len(items))
	}
	resp, text = c.call("DELETE", c.url, nil)
	n.want(http.StatusNoContent, resp, text)
	resp, text = c.call("HEAD", c.url, nil)
	n.want(http.StatusNotFound, resp, text)
}

func TestTusRefused(t *testing.T) {
	n := newNode(t)
	c := n.tus(10, "")
	for name, got := range map[string]func() *http.Response{
		"412": func() *http.Response { r, _ := n.do("holter-1", "HEAD", c.url, nil, nil); return r },
		"404": func() *http.Response {
			r, _ := n.do("pacs", "HEAD", c.url, nil, map[string]string{"Tus-Resumable": "1.0.0"})
			return r
		},
		"401": func() *http.Response {
			r, _ := n.do("desk-1", "HEAD", c.url, nil, map[string]string{"Tus-Resumable": "1.0.0"})
			return r
		},
		"415": func() *http.Response { r, _ := c.call("PATCH", c.url, nil, "Upload-Offset", "0"); return r },
		"413": func() *http.Response { r, _ := c.call("POST", TusPath, nil, "Upload-Length", "99999999999"); return r },
		"400": func() *http.Response { r, _ := c.call("POST", TusPath, nil, "Upload-Defer-Length", "1"); return r },
		"400 metadata": func() *http.Response {
			r, _ := c.call("POST", TusPath, nil, "Upload-Length", "1", "Upload-Metadata", "sha256 ?")
			return r
		},
		"413 body": func() *http.Response { r, _ := c.patch(0, make([]byte, 11)); return r },
		"204":      func() *http.Response { r, _ := n.do("x", "OPTIONS", TusPath, nil, nil); return r },
	} {
		if r := got(); fmt.Sprint(r.StatusCode) != name[:3] {
			t.Errorf("%s: got %d", name, r.StatusCode)
		}
	}
	resp, text := c.patch(0, []byte("not an ECG"))
	n.want(http.StatusUnprocessableEntity, resp, text)
	resp, text = c.call("HEAD", c.url, nil)
	n.want(http.StatusNotFound, resp, text)
	if len(n.queue.Items()) != 0 {
		t.Error("something was kept")
	}
	c = n.tus(10, "")
	resp, text = c.call("POST", c.url, bytes.NewReader(make([]byte, 5)), "X-HTTP-Method-Override", "PATCH", "Upload-Offset", "0", "Content-Type", "application/offset+octet-stream")
	n.want(http.StatusNoContent, resp, text)
}

// stow sends parts as a STOW-RS request.
func (n *node) stow(parts ...[]byte) (int, map[string]struct{ Value []map[string]any }) {
	n.t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, p := range parts {
		pw, err := w.CreatePart(textproto.MIMEHeader{"Content-Type": {"application/dicom"}})
		must(n.t, err)
		_, err = pw.Write(p)
		must(n.t, err)
	}
	must(n.t, w.Close())
	resp, text := n.do("pacs", "POST", StowPath, &b, map[string]string{
		"Content-Type": `multipart/related; type="application/dicom"; boundary=` + w.Boundary(),
	})
	var out []map[string]struct{ Value []map[string]any }
	if resp.StatusCode != 400 {
		must(n.t, json.Unmarshal([]byte(text), &out))
		return resp.StatusCode, out[0]
	}
	return resp.StatusCode, nil
}

func TestStow(t *testing.T) {
	n := newNode(t)
	good := file(t, ecg)
	const failed, referenced = "00081198", "00081199"
	reason := func(one map[string]any) float64 {
		return one["00081197"].(map[string]any)["Value"].([]any)[0].(float64)
	}
	status, out := n.stow(good)
	if status != 200 || len(out[referenced].Value) != 1 || len(out[failed].Value) != 0 {
		t.Errorf("one good: %d %v", status, out)
	}
	if items := n.queue.Items(); len(items) != 1 || !bytes.Equal(items[0].Body, good) || items[0].Origin != "pacs" {
		t.Errorf("%d items", len(items))
	}
	status, out = n.stow(good[:len(good)-100], good, []byte("no DICOM at all"))
	if status != 202 || len(out[referenced].Value) != 1 || len(out[failed].Value) != 2 || reason(out[failed].Value[0]) != 0xC000 || reason(out[failed].Value[1]) != 0xC000 {
		t.Errorf("mixed: %d %v", status, out)
	}
	other := bytes.Clone(good)
	other[len(other)-1] ^= 1
	if status, out = n.stow(other); status != 409 || reason(out[failed].Value[0]) != 0xC001 {
		t.Errorf("same instance, other content: %d %v", status, out)
	}
	n = newNode(t)
	n.queue.SetFull(true)
	if status, out = n.stow(good); status != 503 || reason(out[failed].Value[0]) != 0xA700 {
		t.Errorf("full: %d %v", status, out)
	}
	if status, _ = n.stow(); status != 400 {
		t.Errorf("nothing: %d", status)
	}
	resp, text := n.do("pacs", "POST", StowPath, strings.NewReader("x"), map[string]string{"Content-Type": "application/dicom"})
	n.want(http.StatusUnsupportedMediaType, resp, text)
}

// What a person hands in is traced before it is answered, or not taken.
func TestPersonIsTraced(t *testing.T) {
	n := newNode(t)
	h := &Handler{Options: Options{Trail: n.trail}}
	s := sender{name: "desk-1", person: grant.Grant{Subject: "Practitioner/1", Session: "s1", Role: "doctor"}}
	must(t, h.took(s, "item"))
	if len(n.trail.all) != 1 || n.trail.all[0].Who != "Practitioner/1" || n.trail.all[0].Action != "upload" || n.trail.all[0].What != "item" {
		t.Errorf("%+v", n.trail.all)
	}
	n.trail.fail = errors.New("disk")
	if h.took(s, "item") == nil {
		t.Error("taken without a trace")
	}
}

func FuzzHeaders(f *testing.F) {
	f.Add("filename eA==,sha256 eA==", "sha-256=:eA==:", "sha1 eA==")
	f.Add(",,", "sha-256=:", " ")
	f.Fuzz(func(t *testing.T, meta, digest, checksum string) {
		if m, err := metadata(meta); err == nil && m[metaDigest] != "" && len(m[metaDigest]) != 64 {
			t.Errorf("metadata %q", m)
		}
		if d, ok := reprDigest(digest); ok && len(d) != 64 {
			t.Errorf("digest %q", d)
		}
		if _, _, err := checked(checksum, strings.NewReader("x")); err == nil && !strings.HasPrefix(checksum, "sha") {
			t.Errorf("checksum %q", checksum)
		}
	})
}
