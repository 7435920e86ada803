package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/netd/plan"
)

// askTime is how long a question may wait for the loop.
const askTime = 5 * time.Second

// serveWhy answers GET /why: which way a new flow takes, by the plan and by the
// kernel itself.
func (b *box) serveWhy(w http.ResponseWriter, r *http.Request) {
	flow, err := parseFlow(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), askTime)
	defer cancel()
	answer := make(chan wire.FlowWay, 1)
	b.tell(ctx, func(time.Time) { answer <- b.why(flow) })
	select {
	case a := <-answer:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a) // a caller that hung up
	case <-ctx.Done():
		http.Error(w, "netd is busy", http.StatusServiceUnavailable)
	}
}

// why is done by the loop.
func (b *box) why(f plan.Flow) wire.FlowWay {
	var reasons []string
	for _, u := range b.ups {
		reasons = append(reasons, u.machine.Status().Reason)
	}
	a := plan.Why(b.cfg, b.known(), b.active, reasons, f)
	mark, _ := strconv.ParseUint(a.Mark, 0, 32) // written by Why
	from := ""
	for _, z := range b.cfg.Zones {
		if z.Address.Masked().Contains(f.Src) && z.Address.Addr() != f.Src {
			from = z.Port
		}
	}
	dev, err := b.kernel.Lookup(f.Src, f.Dst, uint32(mark), from)
	if err != nil {
		a.Device = err.Error()
		a.Agrees = a.Kind == wire.WayRefused || a.Kind == wire.WayNone
		return a
	}
	a.Device = dev
	a.Agrees = slices.ContainsFunc(a.Uplinks, func(p wire.UplinkPart) bool { return p.Device == dev })
	for _, t := range b.cfg.Tunnels {
		a.Agrees = a.Agrees || a.Kind == wire.WayTunnel && a.Name == t.Name && t.Device == dev
	}
	for _, z := range b.cfg.Zones {
		a.Agrees = a.Agrees || a.Kind == wire.WayZone && a.Name == z.Name && slices.Contains(z.Devices(), dev)
	}
	return a
}

// parseFlow reads src, dst, proto, port and dscp.
func parseFlow(q url.Values) (plan.Flow, error) {
	var f plan.Flow
	for _, a := range []struct {
		key  string
		into *netip.Addr
	}{{"src", &f.Src}, {"dst", &f.Dst}} {
		v, err := netip.ParseAddr(q.Get(a.key))
		if err != nil || !v.Is4() {
			return f, fmt.Errorf("%s: got %q, want an IPv4 address", a.key, q.Get(a.key))
		}
		*a.into = v
	}
	f.Proto = q.Get("proto")
	if !slices.Contains([]string{"", "tcp", "udp", "icmp"}, f.Proto) {
		return f, fmt.Errorf("proto: got %q, want tcp, udp or icmp", f.Proto)
	}
	if text := q.Get("port"); text != "" {
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil || n == 0 || f.Proto != "tcp" && f.Proto != "udp" {
			return f, fmt.Errorf("port: got %q, want 1 to 65535 of tcp or udp", text)
		}
		f.Port = uint16(n)
	}
	if text := q.Get("dscp"); text != "" {
		n, err := strconv.ParseUint(text, 10, 8)
		if err != nil || n > 63 {
			return f, fmt.Errorf("dscp: got %q, want 0 to 63", text)
		}
		f.DSCP = int(n)
	}
	return f, nil
}

// percent is each uplink's part of the new flows of no particular class.
func (b *box) percent() []int {
	all, total := make([]int, len(b.ups)), 0
	shares := plan.Shares(b.cfg, b.known(), b.active)
	for _, s := range shares {
		total += s.Weight
	}
	for _, s := range shares {
		all[s.Uplink] = s.Weight * 100 / total
	}
	return all
}
