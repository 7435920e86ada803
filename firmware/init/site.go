package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"clinicgate/firmware/plainhttp"
	"clinicgate/firmware/probation"
	"clinicgate/firmware/wire"
)

// siteFault stands while a site file is on trial.
const siteFault = "site.trial"

func newSite() *probation.Site {
	return &probation.Site{File: "/data/site/site.toml", Dir: "/data/init", GID: gidClinicgate}
}

// endSiteTrial brings the old site file back after a restart: whoever applied the
// new one may not have been able to reach the box since.
func (b *box) endSiteTrial() error {
	t, err := b.site.Return("init", "the box was started afresh before anybody confirmed it", time.Now())
	if errors.Is(err, probation.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	say("the site file of %s was not confirmed: the one before is back", t.Since.Format(time.DateTime))
	b.log.Warn("site", "did", probation.Returned, "why", "restart", "sha256", t.Was)
	return nil
}

// answerSite does one step of a change of the site file. What a site file means is
// for the daemons, and gatectl has asked them.
func (b *box) answerSite(req plainhttp.Request, answer plainhttp.Answer) {
	by, now := name(req.UID), time.Now()
	var t probation.Trial
	var err error
	switch req.Path {
	case "/site/apply":
		minutes, bad := strconv.Atoi(req.Query.Get("minutes"))
		if bad != nil {
			fmt.Fprintf(answer(400, text), "minutes: got %.20q, want a number\n", req.Query.Get("minutes"))
			return
		}
		t, err = b.site.Apply(req.Body, by, time.Duration(minutes)*time.Minute, now)
		if err == nil {
			b.guardSite(t)
		}
	case "/site/confirm":
		t, err = b.site.Confirm(req.Query.Get("sha256"), by, now)
		b.settleSite(err)
	case "/site/return":
		t, err = b.site.Return(by, "asked for", now)
		b.settleSite(err)
	}
	if err != nil {
		fmt.Fprintf(answer(409, text), "%v\n", err)
		return
	}
	b.log.Info("site", "did", req.Path, "by", by, "sha256", t.SHA256, "was", t.Was)
	_ = json.NewEncoder(answer(200, "application/json")).Encode(t) // the client may be gone
}

// guardSite lets the old file return when the time is over. The time is the kernel's
// own: a clock that is set does not shorten it.
func (b *box) guardSite(t probation.Trial) {
	b.faults.raise(wire.Fault{
		ID: siteFault, Severity: wire.Warning, Where: "site file",
		What: fmt.Sprintf("a new site file is on trial until %s; the old one returns then, or at a restart", t.Until.Format("15:04:05 MST")),
		Do:   "if the clinic works with it, `gatectl site confirm`; if not, `gatectl site return`",
	})
	say("a new site file is on trial for %v", t.Until.Sub(t.Since))
	time.AfterFunc(t.Until.Sub(t.Since), func() {
		if now, err := b.site.Trial(); err != nil || now == nil || *now != t {
			return // it was judged meanwhile; another one has a timer of its own
		}
		_, err := b.site.Return("init", "nobody confirmed it in time", time.Now())
		b.settleSite(err)
		if err != nil {
			say("site file: %v", err)
			b.log.Error("site", "err", err)
			return
		}
		say("nobody confirmed the new site file: the one before is back")
		b.log.Warn("site", "did", probation.Returned, "why", "not confirmed in time", "sha256", t.Was)
	})
}

// settleSite takes the warning back when the trial is over.
func (b *box) settleSite(err error) {
	if err == nil {
		b.faults.clear(siteFault)
	}
}

// answerSiteState tells of a trial, of what was done before, and the file before
// this one.
func (b *box) answerSiteState(req plainhttp.Request, answer plainhttp.Answer) {
	if req.Path == "/site/before" {
		before, err := b.site.Before()
		if err != nil {
			fmt.Fprintln(answer(404, text), "the site file was never changed here")
			return
		}
		_, _ = answer(200, text).Write(before)
		return
	}
	t, err := b.site.Trial()
	if err != nil {
		fmt.Fprintln(answer(500, text), err)
		return
	}
	events, err := b.site.History()
	if err != nil {
		b.log.Warn("site history", "err", err)
	}
	if events == nil {
		events = []probation.Event{}
	}
	_ = json.NewEncoder(answer(200, "application/json")).Encode(struct {
		Trial   *probation.Trial  `json:"trial"`
		History []probation.Event `json:"history"`
	}{t, events})
}

// name is who asks, as the history knows him.
func name(uid int) string {
	switch uid {
	case 0:
		return "root"
	case uidConsole:
		return "console"
	}
	return "user " + strconv.Itoa(uid)
}
