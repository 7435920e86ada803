package initctl

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func serve(t *testing.T, h http.HandlerFunc) Client {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "init.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return Client{Run: dir}
}

func TestLog(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s\ntwo\n", r.URL) })
	var got []string
	if err := c.Log(t.Context(), "netd", 7, false, func(l string) { got = append(got, l) }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"/log?lines=7&service=netd", "two"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A service can't fill our memory with one line, nor hold us with none.
func TestBounds(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for range 1 << 10 {
			if _, err := fmt.Fprint(w, strings.Repeat("x", 1<<10)); err != nil {
				return
			}
		}
	})
	if err := c.Log(t.Context(), "", 1, false, func(string) {}); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("got %v", err)
	}
}

func TestFollowEndsWithContext(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "one")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	n := 0
	err := c.Log(ctx, "", 1, true, func(string) { n++; cancel() })
	if err != nil || n != 1 {
		t.Errorf("%d lines, %v", n, err)
	}
}

func TestRefusals(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Error(w, "user 206 may not", http.StatusForbidden) })
	if err := c.End(t.Context(), "poweroff"); err == nil || err.Error() != "ask init: 403 Forbidden: user 206 may not" {
		t.Errorf("got %v", err)
	}
	c.Run = t.TempDir()
	if err := c.End(t.Context(), "poweroff"); err == nil || !strings.HasPrefix(err.Error(), "ask init: dial unix") {
		t.Errorf("got %v", err)
	}
}
