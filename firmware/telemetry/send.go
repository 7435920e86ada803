package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"clinicgate/firmware/metric"
)

// Bounds of what waits for a collector.
const (
	maxWaiting = 1000 // lines; the oldest go first
	maxBatch   = 200
	batchEvery = 2 * time.Second
	sendTime   = 10 * time.Second
	againMin   = 2 * time.Second
	againMax   = 2 * time.Minute
)

// Target is a collector. Send brings lines to it, all or an error.
type Target interface {
	Send(ctx context.Context, lines []Line) error
}

// A Forwarder brings lines to one collector. Add never waits.
type Forwarder struct {
	Name   string // of the collector's kind, for metrics
	To     Target
	Log    *slog.Logger
	Counts *metric.Set

	mu      sync.Mutex
	waiting []Line
	lost    int
}

// Add puts a line behind those that wait.
func (f *Forwarder) Add(l Line) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.waiting) == maxWaiting {
		f.waiting = append(f.waiting[:0], f.waiting[1:]...)
		f.lost++
		f.Counts.Counter("panel_export_lost_lines_total", "Log lines that a collector missed.", "to", f.Name).Inc()
	}
	f.waiting = append(f.waiting, l)
}

// Run sends until ctx ends: what came in the last seconds in one go, and after a
// failure later and later.
func (f *Forwarder) Run(ctx context.Context) error {
	wait, failing := batchEvery, false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		err := f.flush(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			if failing {
				f.Log.Info("the collector takes log lines again", "to", f.Name)
			}
			wait, failing = batchEvery, false
		default:
			if !failing { // once: this line goes to the collector as well
				f.Log.Warn("the collector takes no log lines", "to", f.Name, "err", err)
			}
			wait, failing = min(max(2*wait, againMin), againMax), true
		}
	}
}

// flush sends what waits. What a failed attempt brought may come twice; what it did
// not stays, unless newer lines have pushed it out meanwhile.
func (f *Forwarder) flush(ctx context.Context) error {
	for {
		f.mu.Lock()
		lines := append([]Line(nil), f.waiting[:min(len(f.waiting), maxBatch)]...)
		gone := f.lost
		f.mu.Unlock()
		if len(lines) == 0 {
			return nil
		}
		within, cancel := context.WithTimeout(ctx, sendTime)
		err := f.To.Send(within, lines)
		cancel()
		if err != nil {
			return err
		}
		f.mu.Lock()
		sent := max(0, len(lines)-(f.lost-gone))
		f.waiting = append(f.waiting[:0], f.waiting[sent:]...)
		f.mu.Unlock()
		f.Counts.Counter("panel_export_lines_total", "Log lines that a collector took.", "to", f.Name).Add(float64(len(lines)))
	}
}

// Syslog is a collector that takes RFC 5424: over UDP a datagram a line (RFC 5426),
// over TCP counted octets (RFC 6587, section 3.4.1).
type Syslog struct {
	Network, Address string
	Host             string // the box's name in each line
}

// Send opens a connection for each batch: one that is idle through a clinic's night is
// dead in the morning, and writes into it are lost without a word.
func (s Syslog) Send(ctx context.Context, lines []Line) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, s.Network, s.Address)
	if err != nil {
		return fmt.Errorf("reach syslog: %w", err)
	}
	defer c.Close()
	if at, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(at); err != nil {
			return err
		}
	}
	for _, l := range lines {
		m := l.Syslog(s.Host)
		if s.Network == "tcp" {
			m = append(strconv.AppendInt(nil, int64(len(m)), 10), append([]byte(" "), m...)...)
		}
		if _, err := c.Write(m); err != nil {
			return fmt.Errorf("send to syslog: %w", err)
		}
	}
	return nil
}

// OTLPHTTP is a collector that takes OpenTelemetry's logs by HTTP in JSON.
type OTLPHTTP struct {
	URL    *url.URL
	Host   string
	Client *http.Client
}

// Send posts one export request.
func (o OTLPHTTP) Send(ctx context.Context, lines []Line) error {
	body, err := OTLP(o.Host, lines)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.URL.String(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := o.Client.Do(req)
	if err != nil {
		return fmt.Errorf("export logs: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection serves again
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("export logs: %s", resp.Status)
	}
	return nil
}
