// Package initctl asks PID 1 over its control socket: for logs, and to end. Every
// question has a time limit and every answer a size limit.
package initctl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Client asks the init of one run directory.
type Client struct {
	Run string
}

// Limits of an answer.
const (
	maxLine = 64 << 10
	patient = 10 * time.Second
	// slotTime is for a kernel image of some 10 MB, written and read back.
	slotTime = 2 * time.Minute
)

func (c Client) do(ctx context.Context, method, path string, query url.Values) (*http.Response, error) {
	sock := filepath.Join(c.Run, "init.sock")
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: patient}).DialContext(ctx, "unix", sock)
		},
	}}
	u := url.URL{Scheme: "http", Host: "init", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if _, ok := ctx.Deadline(); !ok {
		client.Transport.(*http.Transport).ResponseHeaderTimeout = patient
	}
	resp, err := client.Do(req)
	var dial *net.OpError
	if errors.As(err, &dial) {
		return nil, fmt.Errorf("ask init: %w (is this the box, and may you?)", dial)
	}
	if err != nil {
		return nil, fmt.Errorf("ask init: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return nil, fmt.Errorf("ask init: %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return resp, nil
}

// Log calls line for each of the last n log lines of a service, or of all when
// service is empty; with follow it goes on until ctx ends. A line longer than 64
// KiB ends it with an error.
func (c Client) Log(ctx context.Context, service string, n int, follow bool, line func(string)) error {
	query := url.Values{"lines": {strconv.Itoa(n)}}
	if service != "" {
		query.Set("service", service)
	}
	if follow {
		query.Set("follow", "1")
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patient)
		defer cancel()
	}
	resp, err := c.do(ctx, http.MethodGet, "/log", query)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		line(lines.Text())
	}
	if err := lines.Err(); err != nil && !(follow && ctx.Err() != nil) {
		return fmt.Errorf("read log: %w", err)
	}
	return nil
}

// End asks for "poweroff" or "reboot". It returns when init has agreed.
func (c Client) End(ctx context.Context, how string) error {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	resp, err := c.do(ctx, http.MethodPost, "/"+how, nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Slot asks for a step of an update: "arm", "commit" or "fail", with its words. It
// returns when that step outlives a power cut. Copying a kernel image takes a
// while on cheap flash.
func (c Client) Slot(ctx context.Context, step string, words url.Values) error {
	ctx, cancel := context.WithTimeout(ctx, slotTime)
	defer cancel()
	resp, err := c.do(ctx, http.MethodPost, "/slot/"+step, words)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}
