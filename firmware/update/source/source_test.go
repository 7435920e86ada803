package source

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type depot interface {
	Open(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
}

func web(t *testing.T, h http.Handler) Web {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL + "/depot")
	if err != nil {
		t.Fatal(err)
	}
	return NewWeb(u)
}

func files(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"metadata/timestamp.json": "{}", "targets/board/1.0/root.img": "0123456789"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestBothRead(t *testing.T) {
	dir := files(t)
	served := web(t, http.StripPrefix("/depot", http.FileServer(http.Dir(dir))))
	for name, d := range map[string]depot{"web": served, "folder": Folder(dir)} {
		for _, c := range []struct {
			file   string
			off, n int64
			want   string
		}{{"metadata/timestamp.json", 0, -1, "{}"}, {"targets/board/1.0/root.img", 2, 3, "234"}, {"targets/board/1.0/root.img", 8, 2, "89"}} {
			r, err := d.Open(t.Context(), c.file, c.off, c.n)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != c.want || r.Close() != nil {
				t.Errorf("%s: %s from %d: got %q, %v", name, c.file, c.off, got, err)
			}
		}
		if _, err := d.Open(t.Context(), "metadata/2.root.json", 0, -1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: a file that is not there: %v", name, err)
		}
	}
}

func TestFolderHasWalls(t *testing.T) {
	for _, name := range []string{"../secret", "/etc/passwd", "targets/../../x", ""} {
		if r, err := Folder(files(t)).Open(t.Context(), name, 0, -1); err == nil {
			r.Close()
			t.Errorf("%q was opened", name)
		}
	}
}

func TestServersThatMisbehave(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"no ranges": {func(w http.ResponseWriter, _ *http.Request) { w.Write(bytes.Repeat([]byte("x"), 1<<20)) }, "knows no ranges"},
		"an error":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }, "got 502"},
	} {
		if _, err := web(t, c.answer).Open(t.Context(), "a", 0, 10); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The one who watches ends a body that trickles; here the span is over at once.
func TestSlow(t *testing.T) {
	w := web(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		for r.Context().Err() == nil {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}))
	r, err := w.Open(t.Context(), "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.(*watched).timer.Reset(50 * time.Millisecond)
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, ErrSlow) {
		t.Errorf("got %v", err)
	}
}
