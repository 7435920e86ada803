// Package netctl asks netd over its control socket. Every question has a time limit
// and every answer a size limit.
package netctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"clinicgate/firmware/wire"
)

// Client asks the netd of one run directory.
type Client struct {
	Run string
}

// ErrQuestion is wrapped by the reason why netd can't make sense of a question.
var ErrQuestion = errors.New("netd does not understand")

// Limits of an answer.
const (
	patient   = 10 * time.Second
	maxAnswer = 256 << 10
)

// Why asks which way a new flow takes; query has src and dst, and may have proto,
// port and dscp.
func (c Client) Why(ctx context.Context, query url.Values) (w wire.FlowWay, err error) {
	text, err := c.get(ctx, "/why?"+query.Encode())
	if err != nil {
		return w, err
	}
	if err := json.Unmarshal(text, &w); err != nil {
		return w, fmt.Errorf("ask netd: %w", err)
	}
	return w, nil
}

func (c Client) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.Run, "netd.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://netd"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask netd: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask netd: %w", err)
	case resp.StatusCode == http.StatusBadRequest:
		return nil, fmt.Errorf("%w: %s", ErrQuestion, strings.TrimSpace(string(text)))
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("ask netd: %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return text, nil
}
