// Package ask puts one question to a program of the box, over its control socket.
// Every question has a time limit and every answer a size limit, so that a program
// that hangs or babbles holds nobody up.
package ask

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// A Peer is a program that may be asked, and how much is borne from it.
type Peer struct {
	Run   string // run directory
	Name  string // the program's, and its socket's
	Limit int64  // of an answer, in bytes
	Time  time.Duration
}

// maxReason bounds what is taken of a refusal.
const maxReason = 512

// A Refusal is an answer that is no success.
type Refusal struct {
	Name   string // of the program
	Code   int    // of HTTP
	Status string // likewise, in words
	Body   []byte // up to the answer's limit
}

// Error says it in one line.
func (r *Refusal) Error() string {
	s := "ask " + r.Name + ": " + r.Status
	if text := r.Text(); text != "" {
		s += ": " + text
	}
	return s
}

// Text is the reason that the program gave, without space around it.
func (r *Refusal) Text() string {
	return strings.TrimSpace(string(r.Body[:min(len(r.Body), maxReason)]))
}

// Do asks and returns the whole answer; the error is a *Refusal unless its code
// says success. What is beyond the limit is cut off.
func (p Peer) Do(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.Time)
	defer cancel()
	resp, err := p.Open(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Close()
	text, err := io.ReadAll(resp)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", p.Name, err)
	}
	return text, nil
}

// JSON asks and reads the answer into v.
func (p Peer) JSON(ctx context.Context, method, path string, body io.Reader, v any) error {
	text, err := p.Do(ctx, method, path, body)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("ask %s: %w", p.Name, err)
	}
	return nil
}

// Open asks for an answer that may go on and on: it ends with the limit, with ctx,
// and unless it begins within the time limit. The caller closes it.
func (p Peer) Open(ctx context.Context, method, path string, body io.Reader) (io.ReadCloser, error) {
	dialer := net.Dialer{Timeout: p.Time}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives:     true,
		ResponseHeaderTimeout: p.Time,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", filepath.Join(p.Run, p.Name+".sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.Name+path, body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", p.Name, err)
	}
	resp, err := client.Do(req)
	if dial := (*net.OpError)(nil); errors.As(err, &dial) {
		err = dial // without the made-up URL
	}
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", p.Name, err)
	}
	if resp.StatusCode/100 == 2 {
		return answer{io.LimitReader(resp.Body, p.limit()), resp.Body}, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, p.limit())) // what there is of a reason
	return nil, &Refusal{Name: p.Name, Code: resp.StatusCode, Status: resp.Status, Body: text}
}

// limit is that of an answer; without one it has none.
func (p Peer) limit() int64 {
	if p.Limit <= 0 {
		return 1<<63 - 1
	}
	return p.Limit
}

// An answer is a body that is cut off.
type answer struct {
	io.Reader
	io.Closer
}
