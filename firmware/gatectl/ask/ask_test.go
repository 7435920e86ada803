package ask

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) Peer {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "netd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return Peer{Run: dir, Name: "netd", Limit: 100, Time: 5 * time.Second}
}

func TestJSON(t *testing.T) {
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, `{"method":%q,"url":%q,"body":%q}`, r.Method, r.URL, b)
	})
	var got struct{ Method, URL, Body string }
	if err := p.JSON(t.Context(), http.MethodPost, "/a?b=c", strings.NewReader("d"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Method != "POST" || got.URL != "/a?b=c" || got.Body != "d" {
		t.Errorf("got %+v", got)
	}
}

// TestAnswers: what a program may do instead of answering.
func TestAnswers(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for name, c := range map[string]struct {
		code int
		body string
		want string
	}{
		"refused":            {409, " not now\n", "ask netd: 409 Conflict: not now"},
		"refused, no reason": {404, "", "ask netd: 404 Not Found"},
		"babbles":            {500, long, "ask netd: 500 Internal Server Error: " + long[:100]},
		"too long":           {200, `{"a":"` + long + `"}`, "ask netd: unexpected end of JSON input"},
		"no JSON":            {200, "hello", "ask netd: invalid character 'h' looking for beginning of value"},
	} {
		p := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(c.code); fmt.Fprint(w, c.body) })
		var got map[string]string
		err := p.JSON(t.Context(), http.MethodGet, "/", nil, &got)
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if no := (*Refusal)(nil); errors.As(err, &no) != (c.code >= 300) {
			t.Errorf("%s: a refusal: %v", name, no)
		}
	}
}

// TestPatience: one that is not there, one that never begins, and one that never
// ends.
func TestPatience(t *testing.T) {
	began := time.Now()
	for name, h := range map[string]http.HandlerFunc{
		"nobody": nil,
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		p := Peer{Run: t.TempDir(), Name: "netd"}
		if h != nil {
			p = serve(t, h)
		}
		p.Time = 50 * time.Millisecond
		_, err := p.Do(t.Context(), http.MethodGet, "/", nil)
		if err == nil || !strings.HasPrefix(err.Error(), "ask netd: ") {
			t.Errorf("%s: got %v", name, err)
		}
		if h == nil && !strings.Contains(err.Error(), "dial unix") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
}

// TestOpen: an answer that is followed outlives the time limit, and has no end.
func TestOpen(t *testing.T) {
	p := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			fmt.Fprintln(w, strings.Repeat("y", 100))
			w.(http.Flusher).Flush()
			time.Sleep(60 * time.Millisecond)
		}
	})
	p.Time, p.Limit = 100*time.Millisecond, 0
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	body, err := p.Open(ctx, http.MethodGet, "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if text, err := io.ReadAll(body); err != nil || len(text) != 303 {
		t.Errorf("got %d bytes, %v", len(text), err)
	}
}
