package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/apply"
	"clinicgate/netd/capture"
	"clinicgate/netd/config"
	"clinicgate/netd/firewall"
	"clinicgate/netd/hop"
	"clinicgate/netd/plan"
)

// Bounds of a technician's question.
const (
	maxEchoes   = 100
	maxHops     = 30
	allHops     = 64
	echoWait    = 2 * time.Second
	echoEvery   = time.Second
	triesPerHop = 2
)

// errTwice is why a second question waits for nobody.
var errTwice = errors.New("another ping, trace or capture is under way")

// diagnosis answers a technician's questions beside the loop: it changes nothing, so it
// needs nothing of the loop's. One at a time: each is small, and no more than that.
type diagnosis struct {
	cfg  config.Config
	turn chan struct{} // holds one while nobody asks
}

func newDiagnosis(cfg config.Config) *diagnosis {
	d := &diagnosis{cfg: cfg, turn: make(chan struct{}, 1)}
	d.turn <- struct{}{}
	return d
}

func (d *diagnosis) routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /echo", d.serveEcho)
	mux.HandleFunc("POST /capture", d.serveCapture)
	mux.HandleFunc("GET /tables", serveTables)
}

// begin takes the turn, or says why not. The caller gives it back by calling end.
func (d *diagnosis) begin(w http.ResponseWriter) (end func(), ok bool) {
	select {
	case <-d.turn:
		return func() { d.turn <- struct{}{} }, true
	default:
		http.Error(w, errTwice.Error(), http.StatusConflict)
		return nil, false
	}
}

// device is what an uplink, a tunnel, a zone or the pair's cable is called by the
// kernel, with the mark of an uplink's routing table. An empty name is the routes' own
// choice.
func (d *diagnosis) device(name string) (dev string, mark uint32, err error) {
	if name == "" {
		return "", 0, nil
	}
	for i, u := range d.cfg.Uplinks {
		if u.Name == name {
			return u.Port, plan.Mark(i) | plan.ClassMark(0), nil
		}
	}
	for _, t := range d.cfg.Tunnels {
		if t.Name == name {
			return t.Device, 0, nil
		}
	}
	for _, z := range d.cfg.Zones {
		if z.Name == name {
			return z.Port, 0, nil
		}
	}
	return "", 0, fmt.Errorf("by: got %.40q, want the name of an uplink, a tunnel or a zone", name)
}

// number reads a number of the query within 1 and most; unset it is otherwise.
func number(q url.Values, key string, otherwise, most int) (int, error) {
	text := q.Get(key)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, fmt.Errorf("%s: got %.20q, want 1 to %d", key, text, most)
	}
	return n, nil
}

// serveEcho answers POST /echo?to=ADDRESS&by=NAME&count=N, and with trace=1 asks over
// one more hop each time: lines of wire.Echo, as they come.
func (d *diagnosis) serveEcho(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	to, err := netip.ParseAddr(q.Get("to"))
	if err != nil || !to.Is4() {
		err = fmt.Errorf("to: got %.40q, want an IPv4 address", q.Get("to"))
	}
	count, cerr := number(q, "count", 4, maxEchoes)
	dev, mark, derr := d.device(q.Get("by"))
	if err := cmp.Or(err, cerr, derr); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	end, ok := d.begin(w)
	if !ok {
		return
	}
	defer end()
	s, err := hop.Open(r.Context(), dev, mark)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer s.Close()
	w.Header().Set("Content-Type", "application/x-ndjson")
	tell := func(e wire.Echo) {
		_ = json.NewEncoder(w).Encode(e) // a caller that hung up ends the context
		_ = http.NewResponseController(w).Flush()
	}
	if q.Get("trace") == "1" {
		trace(r.Context(), s, to, tell)
		return
	}
	ping(r.Context(), s, to, count, tell)
}

// ping asks the address itself, once a second.
func ping(ctx context.Context, s *hop.Socket, to netip.Addr, count int, tell func(wire.Echo)) {
	next := time.NewTicker(echoEvery)
	defer next.Stop()
	for seq := 1; seq <= count; seq++ {
		tell(askOne(s, to, allHops, seq))
		if seq == count {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
	}
}

// trace asks over one more hop each time, until the address answers or somebody says
// that there is no way on.
func trace(ctx context.Context, s *hop.Socket, to netip.Addr, tell func(wire.Echo)) {
	seq := 0
	for hops := 1; hops <= maxHops; hops++ {
		for range triesPerHop {
			if ctx.Err() != nil {
				return
			}
			seq++
			e := askOne(s, to, hops, seq)
			tell(e)
			if e.Kind == wire.EchoReply || e.Kind == wire.EchoUnreachable {
				return
			}
			if e.Kind != wire.EchoSilent {
				break
			}
		}
	}
}

func askOne(s *hop.Socket, to netip.Addr, hops, seq int) wire.Echo {
	e := wire.Echo{Seq: seq, Hops: hops}
	a, err := s.Ask(to, hops, uint16(seq), echoWait)
	switch {
	case errors.Is(err, hop.ErrSilent):
		e.Kind = wire.EchoSilent
	case err != nil:
		e.Kind, e.Why = wire.EchoError, err.Error()
	default:
		e.Kind, e.From, e.MS = string(a.Kind), a.From.String(), float64(a.After.Microseconds())/1000
	}
	return e
}

// serveCapture answers POST /capture?on=NAME&packets=N&seconds=N with a pcap file of
// headers.
func (d *diagnosis) serveCapture(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	dev, _, err := d.device(q.Get("on"))
	if err == nil && dev == "" {
		err = errors.New("on: want the name of an uplink, a tunnel or a zone")
	}
	packets, perr := number(q, "packets", 1000, capture.MaxPackets)
	seconds, serr := number(q, "seconds", 30, int(capture.MaxTime/time.Second))
	if err := cmp.Or(err, perr, serr); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	end, ok := d.begin(w)
	if !ok {
		return
	}
	defer end()
	w.Header().Set("Content-Type", "application/vnd.tcpdump.pcap")
	limits := capture.Limits{Packets: packets, Bytes: capture.MaxBytes, Time: time.Duration(seconds) * time.Second}
	out := &flushed{w: w}
	if _, err := capture.Run(r.Context(), dev, limits, out); err != nil && !out.began {
		http.Error(w, err.Error(), http.StatusServiceUnavailable) // later, the file just ends
	}
}

// flushed sends each packet on as it comes.
type flushed struct {
	w     http.ResponseWriter
	began bool
}

func (f *flushed) Write(b []byte) (int, error) {
	f.began = true
	n, err := f.w.Write(b)
	return n, errors.Join(err, http.NewResponseController(f.w).Flush())
}

// conntrack is where the kernel says how many connections it knows, and may know.
const conntrack = "/proc/sys/net/netfilter/nf_conntrack_"

// serveTables answers GET /tables: devices, routes, rules, the firewall and the number
// of connections, as the kernel has them. It has a handle of its own: the loop's is
// the loop's.
func serveTables(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	k, err := apply.Open()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer k.Close()
	fmt.Fprint(w, k.Listing())
	for _, name := range []string{"count", "max"} {
		n, err := os.ReadFile(conntrack + name)
		if err != nil {
			n = []byte(err.Error() + "\n")
		}
		fmt.Fprintf(w, "# connections: %s\n%s", name, n)
	}
	fmt.Fprint(w, firewall.Listing(ctx))
}
