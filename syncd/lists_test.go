package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
)

// Lists are brought to cardauth as they came.
func TestListsAreBrought(t *testing.T) {
	t.Parallel()
	c := newClinic(t)
	c.keys()
	c.card()
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "list 0")
	}))
	defer issuer.Close()
	var got atomic.Value
	l, err := net.Listen("unix", c.path("run/cardauth.sock"))
	c.must(err)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/lists" {
			body, _ := io.ReadAll(r.Body) // what is missing shows in got
			got.Store(string(body))
		}
		_, _ = io.WriteString(w, "{}")
	}))
	srv.Listener = l
	srv.Start()
	defer srv.Close()
	site := readFile(t, c.path("site/site.toml")) + fmt.Sprintf("[sync.lists]\nurls = [%q]\nevery = \"1m\"\n", issuer.URL+"/x.crl")
	c.must(os.WriteFile(c.path("site/site.toml"), []byte(site), 0o644))
	c.start()
	c.wait("the list", func() bool { return got.Load() == "list 0" })
}
