package tus

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"clinicgate/syncd/deliver"
	"clinicgate/syncd/deliver/progress"
	"clinicgate/syncd/queue"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A server of tus 1.0.0 that can break: it holds what it read before it broke, as
// tusd does.
type server struct {
	mu      sync.Mutex
	holds   map[string]*bytes.Buffer
	meta    []string
	came    int64  // bytes of all PATCHes
	breaks  int    // so many PATCHes break in the middle
	say     int    // status in place of all others
	forget  bool   // HEAD answers 404
	place   string // Location in place of its own
	created int
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.say != 0 {
		w.WriteHeader(s.say)
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/files/")
	switch r.Method {
	case "POST":
		s.created++
		id := strconv.Itoa(s.created)
		s.holds[id] = &bytes.Buffer{}
		s.meta = append(s.meta, r.Header.Get("Upload-Metadata"))
		w.Header().Set("Location", "/files/"+id)
		if s.place != "" {
			w.Header().Set("Location", s.place)
		}
		w.WriteHeader(http.StatusCreated)
	case "HEAD":
		if s.forget || s.holds[id] == nil {
			s.forget = false
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Upload-Offset", strconv.Itoa(s.holds[id].Len()))
	case "PATCH":
		at, _ := strconv.Atoi(r.Header.Get("Upload-Offset"))
		if at != s.holds[id].Len() {
			w.WriteHeader(http.StatusConflict)
			return
		}
		body := io.Reader(r.Body)
		if s.breaks > 0 {
			body = io.LimitReader(body, r.ContentLength/2)
		}
		n, _ := io.Copy(s.holds[id], body)
		s.came += n
		if s.breaks > 0 {
			s.breaks--
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Upload-Offset", strconv.Itoa(s.holds[id].Len()))
		w.WriteHeader(http.StatusNoContent)
	}
}

func start(t *testing.T) (*server, *Sender) {
	t.Helper()
	s := &server{holds: map[string]*bytes.Buffer{}}
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL + "/files")
	must(t, err)
	return s, &Sender{Client: deliver.NewClient(u, "", ""), URL: u, Places: progress.Open(filepath.Join(t.TempDir(), "places")), Key: func(it queue.Item) string { return it.Key }}
}

func item(size int) ([]byte, queue.Item, deliver.Body) {
	file := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	it := queue.Item{Key: "k", Kind: "dicom", Size: int64(len(file)), Digest: sha256.Sum256(file), Meta: map[string]string{}}
	return file, it, func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(file)), nil }
}

func kindOf(err error) deliver.Kind {
	var f *deliver.Failure
	if errors.As(err, &f) {
		return f.Kind
	}
	return -1
}

// Ten cuts, a restart between each: nothing is sent twice that the server holds.
func TestGoesOnAfterCuts(t *testing.T) {
	s, to := start(t)
	path := filepath.Join(t.TempDir(), "progress")
	to.Places = progress.Open(path)
	file, it, body := item(8 << 20)
	for cut := range 10 {
		s.breaks = 1
		if _, err := to.Send(t.Context(), it, cut > 0, body); kindOf(err) != deliver.Unreachable {
			t.Fatalf("cut %d: %v", cut, err)
		}
		to.Places = progress.Open(path)
	}
	proof, err := to.Send(t.Context(), it, true, body)
	must(t, err)
	if proof == "" || s.created != 1 || !bytes.Equal(s.holds["1"].Bytes(), file) {
		t.Errorf("%q, %d uploads", proof, s.created)
	}
	if s.came != it.Size {
		t.Errorf("%d bytes were taken, want %d: each once", s.came, it.Size)
	}
	if _, err := to.Send(t.Context(), it, true, body); err != nil || s.created != 1 || s.came != it.Size {
		t.Errorf("whole and asked again: %v, %d uploads", err, s.created)
	}
	if !strings.Contains(s.meta[0], "sha256 ") || !strings.Contains(s.meta[0], "idempotency-key ") {
		t.Errorf("announced as %s", s.meta[0])
	}
}

// The server has forgotten the upload: it begins anew.
func TestBeginsAnew(t *testing.T) {
	s, to := start(t)
	_, it, body := item(3 << 20)
	s.breaks = 1
	_, err := to.Send(t.Context(), it, false, body)
	if err == nil {
		t.Fatal("a broken upload counts")
	}
	s.forget = true
	_, err = to.Send(t.Context(), it, true, body)
	must(t, err)
	if s.created != 2 || s.holds["2"].Len() != int(it.Size) {
		t.Errorf("%d uploads", s.created)
	}
}

func TestRefusals(t *testing.T) {
	for say, kind := range map[int]deliver.Kind{
		401: deliver.Refusing, 413: deliver.Refused, 423: deliver.Troubled, 503: deliver.Unreachable, 500: deliver.Troubled,
	} {
		s, to := start(t)
		s.say = say
		_, it, body := item(1 << 10)
		if _, err := to.Send(t.Context(), it, false, body); kindOf(err) != kind {
			t.Errorf("%d: %v", say, err)
		}
	}
	for _, place := range []string{"http://elsewhere/files/1", "/other/1", "://"} {
		s, to := start(t)
		s.place = place
		_, it, body := item(1 << 10)
		if _, err := to.Send(t.Context(), it, false, body); kindOf(err) != deliver.Refusing {
			t.Errorf("%s: %v", place, err)
		}
	}
	_, to := start(t)
	_, it, _ := item(1 << 10)
	broken := func() (io.ReadCloser, error) { return nil, fmt.Errorf("disk") }
	if _, err := to.Send(context.Background(), it, false, broken); err == nil {
		t.Error("a file that can't be read counts")
	}
}
