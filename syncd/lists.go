package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"clinicgate/firmware/daemon"
)

const (
	maxList       = 8 << 20 // bytes
	listWithin    = time.Minute
	listAgain     = 5 * time.Minute // after a failure
	firstListWait = 2 * time.Second // for cardauth and the line to be there
)

// lists is the task that fetches them, if the site names any.
func (s *state) lists() []daemon.Task {
	if s.cfg.Lists == nil {
		return nil
	}
	return []daemon.Task{{Name: "lists of revoked cards", Run: s.fetchLists}}
}

// fetchLists brings cardauth the lists of revoked cards, which it checks itself:
// what comes over the line is not believed here. A list that can't be fetched is
// cardauth's to complain of when the one it has runs out.
func (s *state) fetchLists(ctx context.Context) error {
	wait := firstListWait
	tags := map[string]string{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = s.cfg.Lists.Every
		for _, u := range s.cfg.Lists.URLs {
			if err := s.fetchList(ctx, u.String(), tags); err != nil && ctx.Err() == nil {
				s.env.Log.Warn("list of revoked cards not brought", "from", u.Host, "err", err)
				wait = min(listAgain, s.cfg.Lists.Every)
			}
		}
	}
}

// fetchList brings one list, if it has changed since it was brought last.
func (s *state) fetchList(ctx context.Context, from string, tags map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	if tag := tags[from]; tag != "" {
		r.Header.Set("If-None-Match", tag)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxList+1))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("got %s", resp.Status)
	case len(body) > maxList:
		return fmt.Errorf("got more than %d bytes", maxList)
	}
	if err := s.handList(ctx, body); err != nil {
		return err
	}
	tags[from] = resp.Header.Get("ETag")
	return nil
}

// handList gives a list to cardauth. One that it has a newer one of is no failure.
func (s *state) handList(ctx context.Context, list []byte) error {
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(s.env.Run, "cardauth.sock"))
	}}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cardauth/lists", bytes.NewReader(list))
	if err != nil {
		return err
	}
	resp, err := c.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10)) // only to say why
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusConflict {
		return fmt.Errorf("cardauth says %s: %s", resp.Status, said)
	}
	return nil
}
