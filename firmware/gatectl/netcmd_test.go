package main

import (
	"context"
	"fmt"
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
	mux.HandleFunc("GET /why", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("src") == "nobody" {
			http.Error(w, "src: got \"nobody\", want an IPv4 address", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"src":%q,"dst":%q,"proto":%q,"port":443,"dscp":0,"class":"bulk","kind":"uplink","uplinks":[{"name":"isp-b","device":"wan2","percent":100}],
"why":["it is bulk"],"others":["isp-a: down: silent"],"mark":"0x3000000","rule":7302,"table":7302,"route":"route default via 198.51.100.1","device":"wan2","agrees":%v}`,
			q.Get("src"), q.Get("dst"), q.Get("proto"), q.Get("dscp") != "9")
	})
	mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		switch q := r.URL.Query(); {
		case q.Get("by") == "isp-c":
			http.Error(w, `by: got "isp-c", want the name of an uplink, a tunnel or a zone`, http.StatusBadRequest)
		case q.Get("by") == "busy":
			http.Error(w, "another ping, trace or capture is under way", http.StatusConflict)
		case q.Get("trace") == "1":
			fmt.Fprint(w, `{"seq":1,"hops":1,"from":"100.64.1.1","kind":"exceeded","ms":0.4}
{"seq":2,"hops":2,"kind":"silent"}
{"seq":3,"hops":2,"from":"10.0.1.2","kind":"unreachable"}
`)
		default:
			fmt.Fprintf(w, `{"seq":1,"hops":64,"from":%q,"kind":"reply","ms":12.34}`, q.Get("to"))
		}
	})
	mux.HandleFunc("GET /tables", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "# routes\n") })
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "netd_faults 0\n") })
	mux.HandleFunc("POST /capture", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "a pcap of "+r.URL.Query().Get("on")) })
	go daemon.ServeHTTP(context.Background(), l, &http.Server{Handler: mux})
	return nil
}
