package main

import (
	"context"
	"net"
	"net/http"
	"path/filepath"

	"clinicgate/firmware/daemon"
)

// serveNetd answers as netd does.
func serveNetd(runDir string) error {
	l, err := net.Listen("unix", filepath.Join(runDir, "netd.sock"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /leases", func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte(`[{"zone":"lan","address":"10.20.0.60","mac":"52:54:00:20:00:60","name":"ecg-cart","until":"2026-11-22T20:30:00Z","live":true},
			{"zone":"lan","address":"10.20.0.101","mac":"52:54:00:20:00:0a","says":"\u001b[2Jphone","until":"2026-11-22T08:30:00Z","live":false}]`))
	})
	go daemon.ServeHTTP(context.Background(), l, &http.Server{Handler: mux})
	return nil
}
