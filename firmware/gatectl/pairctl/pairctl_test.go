package pairctl

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func serve(t *testing.T, h http.HandlerFunc) Client {
	t.Helper()
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "failoverd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return Client{Run: dir}
}

func TestHandover(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"v":1,"to":"10.77.0.2","ms":17,"hold":%v}`, r.Method == "POST" && r.URL.String() == "/handover?hold=1")
	})
	for _, hold := range []bool{true, false} {
		if got, err := c.Handover(t.Context(), hold); err != nil || got != (Handover{V: 1, To: "10.77.0.2", MS: 17, Hold: hold}) {
			t.Errorf("hold %v: got %+v, %v", hold, got, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		code    int
		body    string
		refused bool
		want    string
	}{
		"refused":   {409, "not handed over: the other box: no link on lan\n", true, "the other box: no link on lan"},
		"failed":    {500, "disk full", false, "500 Internal Server Error: disk full"},
		"no answer": {200, strings.Repeat("x", maxAnswer+1), false, "invalid character"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(c.code); fmt.Fprint(w, c.body) })
			_, err := cl.Handover(t.Context(), false)
			if err == nil || errors.Is(err, ErrRefused) != c.refused || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if err := (Client{Run: t.TempDir()}).Release(t.Context()); err == nil || !strings.Contains(err.Error(), "ask failoverd") {
		t.Errorf("nobody there: got %v", err)
	}
}
