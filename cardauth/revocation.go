package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"clinicgate/cardauth/audit"
	"clinicgate/cardauth/config"
	"clinicgate/cardauth/revoked"
	"clinicgate/cardauth/trust"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/floor"
	"clinicgate/firmware/tpm"
	"clinicgate/firmware/wire"
)

// Faults of trust.
const (
	faultList  = "card.list"
	faultStale = "card.lists-stale"
	faultClock = "card.clock"
)

// A vigil is what is known about revoked cards and about the time, and how good
// that is.
type vigil struct {
	env    *daemon.Env
	auth   *authority
	conf   *config.Revocation // nil: the age of lists is not held against cards
	lists  *revoked.Store
	trace  *recorder
	moment func() time.Time

	mu      sync.Mutex
	floor   *floor.Floor
	clock   trust.Clock
	suspect bool
	raised  time.Time
	shown   wire.Trust
}

// tpmDevice is the TPM through the kernel's resource manager.
const tpmDevice = "/dev/tpmrm0"

// openVigil opens the lists and the time floor. What can't be read is a fault: a
// box without a TPM, or with a damaged file, must still let doctors in.
func openVigil(env *daemon.Env, auth *authority, conf *config.Revocation, trace *recorder) (*vigil, error) {
	store, err := revoked.Open(filepath.Join(env.State, "lists"))
	if err != nil {
		return nil, err
	}
	v := &vigil{env: env, auth: auth, conf: conf, lists: store, trace: trace, moment: time.Now}
	var chip floor.Clock
	if f, err := tpm.Open(tpmDevice); err == nil {
		chip = &tpm.Clock{Device: f}
	}
	v.floor, err = floor.Open(filepath.Join(env.State, "floor.json"), chip)
	if err != nil {
		env.Log.Error("time floor", "err", err)
	}
	v.clock.Floor = v.floor.Get()
	return v, nil
}

// by are who may sign lists now.
func (v *vigil) by() revoked.Authorities {
	by := revoked.Authorities{Anchors: []*trust.Anchors{v.auth.staff.now.Load(), v.auth.patients.now.Load()}}
	if v.conf != nil {
		by.Hotlist = v.conf.HotlistKey
	}
	return by
}

// now is the time to judge certificates at.
func (v *vigil) now() time.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	at, _ := v.clock.Now(v.moment())
	return at
}

// reload checks the kept lists afresh when the anchors have changed, and takes in
// what lies in the site's folder of lists.
func (v *vigil) reload(changed bool, folder string) {
	if changed {
		if err := v.lists.Load(v.by(), v.now()); err != nil {
			v.env.Log.Warn("lists of revoked cards", "err", err)
		}
	}
	did, bad := v.lists.Folder(folder, v.by(), v.now())
	for _, what := range did {
		v.changed(what)
	}
	var faults []wire.Fault
	for name, err := range bad {
		faults = append(faults, wire.Fault{Severity: wire.Warning, Where: "lists/" + name, What: err.Error(),
			Do: "bring the list once more from whoever issues the cards; what is here already stays in force"})
	}
	slices.SortFunc(faults, func(a, b wire.Fault) int { return strings.Compare(a.Where, b.Where) })
	v.env.Faults.Keep(faultList, faults...)
	v.look()
}

// changed puts a new list on record. It is in force already: to wait would keep a
// revoked card in.
func (v *vigil) changed(what string) {
	v.env.Log.Info("list of revoked cards taken", "what", what)
	if err := v.trace.record(audit.Event{Kind: audit.Trust, At: time.Now(), Why: what}); err != nil {
		v.env.Log.Error("record a list", "err", err)
	}
}

// look judges the clock and the age of the lists.
func (v *vigil) look() {
	v.mu.Lock()
	defer v.mu.Unlock()
	system := v.moment()
	r := v.lists.Now()
	v.clock.Evidence = r.Newest()
	for _, a := range v.by().Anchors {
		if at := a.Newest(); at.After(v.clock.Evidence) && !at.After(system) {
			v.clock.Evidence = at
		}
	}
	at, suspect := v.clock.Now(system)
	v.judgeClock(system, at, suspect)
	if !suspect && at.Sub(v.raised) > trust.Interval {
		v.raised = at
		if err := v.floor.Raise(v.clock.Raise(at)); err != nil {
			v.env.Log.Error("time floor", "err", err)
		}
		v.clock.Floor = v.floor.Get()
	}
	v.judgeAge(r, at)
}

func (v *vigil) judgeClock(system, at time.Time, suspect bool) {
	v.shown.Clock, v.shown.ClockBy = "good", v.floor.By()
	if suspect {
		v.shown.Clock = "suspect"
		v.env.Faults.Raise(wire.Fault{ID: faultClock, Severity: wire.Alarm, Where: "clock",
			What: fmt.Sprintf("it says %s, but %s has passed already; cards are judged at the later", system.UTC().Format(time.DateTime), at.UTC().Format(time.DateTime)),
			Do:   "set the clock right; if it was right, tell cloud ops: somebody may have set it back to bring back a revoked card"})
	} else {
		v.env.Faults.Clear(faultClock, "clock")
	}
	if suspect != v.suspect {
		v.suspect = suspect
		why := "clock is right again"
		if suspect {
			why = "clock is suspect: it says " + system.UTC().Format(time.RFC3339)
		}
		go v.changedClock(why)
	}
}

func (v *vigil) changedClock(why string) {
	if err := v.trace.record(audit.Event{Kind: audit.Trust, At: time.Now(), Why: why}); err != nil {
		v.env.Log.Error("record the clock", "err", err)
	}
}

func (v *vigil) judgeAge(r *trust.Revocation, at time.Time) {
	v.shown.Grade, v.shown.Until, v.shown.Hotlist, v.shown.Distrust = wire.GradeUnchecked, nil, 0, r.Hotlist().Len()
	if h := r.Hotlist(); h != nil {
		v.shown.Hotlist = h.Serial
	}
	for _, c := range r.Lists() {
		v.shown.Distrust += c.Len()
	}
	if v.conf == nil {
		return
	}
	grade, until := r.Grade(at, trust.Patience{Stale: v.conf.Stale, Restricted: v.conf.Restricted}, v.by().Anchors...)
	v.shown.Grade = grade
	what := "there is no list of an authority that signs cards"
	if !until.IsZero() {
		v.shown.Until = &until
		what = "the oldest list was good until " + until.UTC().Format(time.DateTime)
	}
	allowed := map[string]string{
		wire.GradeStale:      "; all is allowed for now, and marked",
		wire.GradeRestricted: "; doctors read, and write in emergencies only",
		wire.GradeEmergency:  "; doctors read and write in emergencies only",
	}
	if allowed[grade] == "" {
		v.env.Faults.Clear(faultStale, "lists")
		return
	}
	severity := wire.Alarm
	if grade == wire.GradeStale {
		severity = wire.Warning
	}
	v.env.Faults.Raise(wire.Fault{ID: faultStale, Severity: severity, Where: "lists", What: what + allowed[grade],
		Do: "see that the line to the lists works, or bring them: copy them into the site's lists/ or use gatectl card import FILE"})
}

// trust is how it is published.
func (v *vigil) trust() wire.Trust {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.shown
}

// take serves new lists on the control socket: POST /lists with a CRL or a hotlist
// as the body. They are signed, so whoever reaches the socket may bring them.
func (v *vigil) take(mux *http.ServeMux, changed func()) {
	mux.HandleFunc("POST /lists", func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(io.LimitReader(r.Body, trust.MaxList+1))
		if err == nil {
			var what string
			if what, err = v.lists.Import(data, v.by(), v.now()); err == nil {
				if what != "" {
					v.changed(what)
				}
				v.look()
				changed()
				reply(w, http.StatusOK, map[string]string{"taken": what})
				return
			}
		}
		code := http.StatusUnprocessableEntity
		if errors.Is(err, trust.ErrRollback) {
			code = http.StatusConflict
		}
		reply(w, code, map[string]string{"error": err.Error()})
	})
}
