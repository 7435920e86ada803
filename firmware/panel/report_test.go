package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/panel/config"
	"clinicgate/firmware/site"
)

// TestReport runs what leaves the clinic as it runs on a box: a scrape from where one
// may, one from where nobody may, and a line of init's log at the collector, without
// the name that slipped into it.
func TestReport(t *testing.T) {
	run := t.TempDir()
	log, err := net.Listen("unix", filepath.Join(run, "init.sock"))
	if err != nil {
		t.Fatal(err)
	}
	initd := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, `{"time":"2026-11-22T12:00:00Z","level":"WARN","msg":"no patient GARCIA^MARIA here","program":"syncd"}`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})}
	go initd.Serve(log)
	t.Cleanup(func() { initd.Close() })
	exported := make(chan string, 16)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		exported <- string(text)
	}))
	defer collector.Close()
	otlp, err := url.Parse(collector.URL + "/v1/logs")
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	free.Close()
	env := &daemon.Env{Name: "panel", Run: run, Log: slog.New(slog.DiscardHandler)}
	w := &watcher{source: collect.Source{Run: run, Site: filepath.Join(run, "site.toml")}, env: env}
	cfg := config.Config{
		Site:    site.Identity{Code: "ES-VA-047"},
		Metrics: &config.Metrics{Listen: at, From: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}},
		Export:  config.Export{OTLP: otlp},
	}
	done := make(chan error, 1)
	go func() { done <- daemon.Run(t.Context(), report(env, cfg, w)...) }()
	scrape := func(from string) (int, string) {
		d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}}
		resp, err := client.Get("http://" + at + "/metrics")
		if err != nil {
			return 0, err.Error()
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	end := time.Now().Add(30 * time.Second)
	code, text := scrape("127.0.0.1")
	for ; code != 200 && time.Now().Before(end); code, text = scrape("127.0.0.1") {
		time.Sleep(50 * time.Millisecond)
	}
	if code != 200 || !strings.Contains(text, "clinicgate_verdict 2") {
		t.Fatalf("%d %s", code, text)
	}
	if code, text := scrape("127.0.0.2"); code != 403 {
		t.Errorf("from elsewhere: %d %s", code, text)
	}
	select {
	case text := <-exported:
		if !json.Valid([]byte(text)) || !strings.Contains(text, "ES-VA-047") || !strings.Contains(text, "(struck)") || strings.Contains(text, "GARCIA") {
			t.Errorf("exported: %s", text)
		}
	case err := <-done:
		t.Fatal(err)
	case <-time.After(30 * time.Second):
		t.Error("no line came")
	}
}
