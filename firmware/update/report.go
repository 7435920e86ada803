package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"clinicgate/firmware/rollout"
	"clinicgate/firmware/wire"
)

// reportTime is how long a report may take.
const reportTime = 20 * time.Second

// report says what cloud ops are to know of this box, whole each time. It says
// nothing of a trial that ended without anybody's fault: that release comes again.
func report(code, ring, release string, i *wire.Init) rollout.Report {
	r := rollout.Report{V: 1, Code: code, Board: i.Board, Ring: ring, Runs: release}
	if i.Slots == nil {
		return r
	}
	if t := i.Slots.Trial; t != nil {
		r.Trial = t.Version
	}
	for _, f := range i.Slots.Refused {
		r.Refused = append(r.Refused, rollout.Failure{Version: f.Version, Why: f.Why})
	}
	return r
}

// tell reports to the depot when there is something it has not taken yet. A depot
// on a plain web server takes none, which is no fault of anybody's.
func (u *updater) tell(ctx context.Context) {
	i := read[wire.Init](u, wire.InitFile)
	if i == nil {
		return
	}
	text, err := json.Marshal(report(u.cfg.Site.Code, u.cfg.Ring, u.env.Release, i))
	if err != nil || bytes.Equal(text, u.told) {
		return
	}
	if err := post(ctx, u.cfg.Depot.JoinPath("reports").String(), text); err != nil {
		u.env.Log.Info("report not taken", "err", err)
		return
	}
	u.told = text
}

func post(ctx context.Context, url string, text []byte) error {
	ctx, stop := context.WithTimeout(ctx, reportTime)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("got %s, want 204", resp.Status)
	}
	return nil
}
