package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"clinicgate/firmware/status"
)

// maxDaemonAnswer bounds what a daemon may say.
const maxDaemonAnswer = 4 << 20

// askDaemon makes one request on a daemon's control socket and reads its JSON. Its
// own no, {"error": ...}, comes back as it is.
func askDaemon(ctx context.Context, o *options, daemon, method, path string, patience time.Duration, into any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(o.source.Run, daemon+".sock"))
	}}}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+daemon+path, http.NoBody)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", daemon, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDaemonAnswer))
	if err != nil {
		return fmt.Errorf("ask %s: %w", daemon, err)
	}
	if resp.StatusCode != http.StatusOK {
		var no struct{ Error string }
		if json.Unmarshal(body, &no) == nil && no.Error != "" {
			return errors.New(status.Plain(no.Error))
		}
		return fmt.Errorf("ask %s: %s", daemon, resp.Status)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("ask %s: %w", daemon, err)
	}
	return nil
}
