package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/amend"
	"clinicgate/syncd/pending"
	"clinicgate/syncd/pending/journal"
	"clinicgate/syncd/vault"
)

// changes are what doctors changed, and who brings it to the EHR.
type changes struct {
	edits *journal.Journal
	desk  *amend.Desk
}

// openEdits opens the journal of what doctors changed, and the desk that brings it to the
// EHR.
func (s *state) openEdits() error {
	base := s.cfg.EHR.Base.String()
	book := pending.NewBook(base)
	var err error
	s.edits, err = journal.Open(journal.Options{Dir: filepath.Join(s.env.State, "edits"), Domain: s.vault.Domain(vault.Edits)}, book.Put)
	if errors.Is(err, journal.ErrDamaged) {
		s.env.Faults.Raise(wire.Fault{
			ID: faultEdits, Severity: wire.Alarm, Where: "changes to the EHR", What: err.Error(),
			Do: "call support before anything else: a change that a doctor made may be lost on this disk",
		})
		err = nil
	}
	if err != nil {
		return err
	}
	reader := s.reader(0)
	s.desk = amend.New(amend.Options{
		Book: book, Journal: s.edits, EHR: s.ehr, Trail: s.trail, Base: base, Log: s.env.Log, Wrote: reader.Wrote,
	})
	return nil
}

// lateAfter is how long a change may wait for an EHR that can be reached before a person
// is told.
const lateAfter = 10 * time.Minute

// editsReport is what syncd.json says of changes, and the faults that stand because of
// them.
func (s *state) editsReport(now time.Time) *wire.Edits {
	c := s.desk.Count()
	var clash, late []wire.Fault
	if c.Clashes > 0 {
		clash = append(clash, wire.Fault{
			ID: faultClash, Severity: wire.Warning, Where: s.cfg.EHR.Base.Host,
			What: fmt.Sprintf("%d changes made here were not taken by the EHR; nothing was overwritten", c.Clashes),
			Do:   "have the doctors who made them open their Tasks, which have both versions, and complete them",
		})
	}
	if c.Waiting > 0 && s.ehr.Down(now) == "" && now.Sub(c.Oldest) > lateAfter && now.Sub(s.started) > lateAfter {
		late = append(late, wire.Fault{
			ID: faultUnsent, Severity: wire.Warning, Where: s.cfg.EHR.Base.Host,
			What: fmt.Sprintf("%d changes wait for the EHR although it can be reached", c.Waiting),
			Do:   "see the log for what it answers; call the EHR's support",
		})
	}
	s.env.Faults.Keep(faultClash, clash...)
	s.env.Faults.Keep(faultUnsent, late...)
	if c.Waiting == 0 && c.Clashes == 0 {
		return nil
	}
	return &wire.Edits{Waiting: c.Waiting, Oldest: c.Oldest, Clashes: c.Clashes}
}

// editsRoutes adds what a person may ask of changes on the control socket.
func (s *state) editsRoutes(mux *http.ServeMux) {
	for path, clashed := range map[string]bool{"GET /edits": false, "GET /edits/clashes": true} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			all := []wire.Edit{}
			for _, e := range s.desk.List(clashed) {
				one := wire.Edit{ID: e.ID, State: string(e.State), When: e.When, By: e.Who, Types: []string{}, Tries: e.Tries, Status: e.Status}
				if e.Task.ID != "" {
					one.Task = s.desk.Now(e.Task).String()
				}
				for _, c := range e.Changes {
					one.Types = append(one.Types, c.Ref.Type)
				}
				all = append(all, one)
			}
			reply(w, http.StatusOK, wire.EditList{V: 1, Items: all})
		})
	}
}
