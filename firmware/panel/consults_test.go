package main

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"

	"clinicgate/firmware/gatectl/collect"
)

// Teleconsultations are known while syncd says so, none included, and not any longer.
func TestConsultsAreAskedFor(t *testing.T) {
	run := t.TempDir()
	w := &watcher{source: collect.Source{Run: run}}
	if w.consults(t.Context()); w.cases != nil {
		t.Errorf("without syncd: %+v", w.cases)
	}
	l, err := net.Listen("unix", filepath.Join(run, "syncd.sock"))
	if err != nil {
		t.Fatal(err)
	}
	var said atomic.Value
	said.Store(`{"v":1,"items":null}`)
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, said.Load()) })}
	go srv.Serve(l)
	if w.consults(t.Context()); w.cases == nil || len(w.cases) != 0 {
		t.Errorf("none: %+v", w.cases)
	}
	said.Store(`{"v":1,"items":[{"case":"5f0c","state":"answered","urgent":true,"changed":"2026-11-22T09:00:00Z","replies":1}]}`)
	if w.consults(t.Context()); len(w.cases) != 1 || w.cases[0].State != "answered" {
		t.Errorf("one: %+v", w.cases)
	}
	srv.Close()
	if w.consults(t.Context()); w.cases != nil {
		t.Errorf("syncd went: %+v", w.cases)
	}
}
