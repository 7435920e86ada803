package main

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// handOver serves the trace to whoever keeps it for good, on the control socket:
//
//	GET  /audit?after=N     {"epoch","records":[{"n","event"}...]}, up to 100 behind number N
//	POST /audit/ack?through=N&epoch=E
//
// Records are numbered within an epoch and offered until they are acknowledged.
func (r *recorder) handOver(mux *http.ServeMux) {
	mux.HandleFunc("GET /audit", func(w http.ResponseWriter, q *http.Request) {
		after, _ := strconv.ParseUint(q.FormValue("after"), 10, 64) // none: from the first
		type record struct {
			N     uint64          `json:"n"`
			Event json.RawMessage `json:"event"`
		}
		out := struct {
			Epoch   string   `json:"epoch"`
			Records []record `json:"records"`
		}{r.spool.Epoch(), []record{}}
		if e := q.FormValue("epoch"); e != "" && e != out.Epoch {
			after = 0
		}
		for _, x := range r.spool.Waiting(after, handed) {
			out.Records = append(out.Records, record{x.N, x.Event})
		}
		reply(w, http.StatusOK, out)
	})
	mux.HandleFunc("POST /audit/ack", func(w http.ResponseWriter, q *http.Request) {
		n, err := strconv.ParseUint(q.FormValue("through"), 10, 64)
		if err != nil || q.FormValue("epoch") != r.spool.Epoch() {
			http.Error(w, "want through=NUMBER and the epoch of now", http.StatusConflict)
			return
		}
		if err := r.spool.Ack(n); err != nil {
			r.env.Log.Error("shorten the audit spool", "err", err)
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
}

// handed is how many records one answer has at most.
const handed = 100
