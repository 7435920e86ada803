package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/trail"
)

// takeOverEvery is how often cardauth is asked for what happened at the readers.
const takeOverEvery = 2 * time.Second

// takeOver moves cardauth's events into the trail, exactly once:
//
//	stop before Append returns: cardauth offers it again
//	stop after: it offers it again, and the trail knows its number
//	stop after the acknowledgement: it may be gone there, and is here
func (s *state) takeOver(ctx context.Context) error {
	c := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", filepath.Join(s.env.Run, "cardauth.sock"))
		},
	}}
	defer c.CloseIdleConnections()
	tick := time.NewTicker(takeOverEvery)
	defer tick.Stop()
	for {
		for {
			n, err := s.takeSome(ctx, c)
			if err != nil && ctx.Err() == nil {
				s.env.Log.Debug("take over cardauth's events", "err", err)
			}
			if n == 0 || err != nil {
				break
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// An offer is what cardauth has that is not acknowledged.
type offer struct {
	Epoch   string `json:"epoch"`
	Records []struct {
		N     uint64          `json:"n"`
		Event json.RawMessage `json:"event"`
	} `json:"records"`
}

const (
	maxOffer = 16 << 20 // bytes
	maxEpoch = 64
)

// takeSome takes over one answer's worth and returns how many records that was.
func (s *state) takeSome(ctx context.Context, c *http.Client) (int, error) {
	var o offer
	if err := ask(ctx, c, http.MethodGet, "/audit", &o); err != nil {
		return 0, err
	}
	if o.Epoch == "" || len(o.Epoch) > maxEpoch || len(o.Records) == 0 {
		return 0, nil
	}
	last := s.trail.Last(o.Epoch)
	for _, r := range o.Records {
		if r.N <= last {
			continue // it is here; the acknowledgement was lost
		}
		if r.N != last+1 && last > 0 {
			s.env.Faults.Raise(wire.Fault{
				ID: faultTrail, Severity: wire.Alarm, Where: "cardauth", What: fmt.Sprintf("events %d to %d of the card readers are missing", last+1, r.N-1),
				Do: "call support: someone must look at why",
			})
		}
		e := trail.Entry{When: time.Now().UTC(), Action: "card", What: "AuditEvent", Outcome: "taken over", Epoch: o.Epoch, Number: r.N, Event: r.Event}
		if err := s.trail.Append(e); err != nil {
			return 0, err
		}
		last = r.N
	}
	q := url.Values{"epoch": {o.Epoch}, "through": {strconv.FormatUint(last, 10)}}
	return len(o.Records), ask(ctx, c, http.MethodPost, "/audit/ack?"+q.Encode(), nil)
}

// ask asks cardauth's control socket.
func ask(ctx context.Context, c *http.Client, method, path string, into any) error {
	r, err := http.NewRequestWithContext(ctx, method, "http://cardauth"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: got %s", method, path, resp.Status)
	}
	if into == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxOffer)).Decode(into)
}
