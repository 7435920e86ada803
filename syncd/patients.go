package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/config"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/deliver/owner"
	"clinicgate/syncd/fhir"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/register"
	"clinicgate/syncd/worklist"
)

// openRegister makes the register of patients and orders. Its readers look up what
// they saw in it, so it comes before them.
func (s *state) openRegister() {
	o := register.Options{Store: s.cache, Base: s.cfg.EHR.Base.String(), Log: s.env.Log}
	if w := s.cfg.Worklist; w != nil {
		o.Policy = worklist.Policy{System: w.System, Codes: w.Codes}
	}
	s.register = register.New(o)
}

// orders is the task that keeps the worklist, if the site wants one.
func (s *state) orders() []daemon.Task {
	if s.cfg.Worklist == nil {
		return nil
	}
	return []daemon.Task{{Name: "worklist", Run: s.register.Run}}
}

// rightful puts the question whose an item is before a destination.
func (s *state) rightful(d config.Destination, to deliver.Sender) deliver.Sender {
	return &owner.Sender{Sender: to, Known: s.register, Matched: d.Matched, Same: d.URL.String() == s.cfg.EHR.Base.String()}
}

// heldFaults says, by reason, what is held because of its patient.
func heldFaults(held []queue.Brief) (faults []wire.Fault) {
	type group struct {
		count int
		first queue.Brief
	}
	groups := map[string]*group{}
	for _, b := range held {
		at := strings.Index(b.Why, owner.Why)
		if at < 0 {
			continue
		}
		reason := b.Why[at+len(owner.Why):]
		if groups[reason] == nil {
			groups[reason] = &group{first: b}
		}
		groups[reason].count++
	}
	for reason, g := range groups {
		faults = append(faults, wire.Fault{
			Severity: wire.Warning, Where: reason,
			What: fmt.Sprintf("%d uploads are held because of their patient, the oldest from %s: %.8s", g.count, g.first.Origin, g.first.ID),
			Do:   "compare what the device says of the patient with the record (gatectl queue held); then gatectl queue release, or send it anew with the right patient",
		})
	}
	slices.SortFunc(faults, func(a, b wire.Fault) int { return cmp.Compare(a.Where, b.Where) })
	return faults
}

// ordersFaults says that the worklist can't be brought up to date though the EHR
// answers. That nobody could be asked is said by the lines and the tunnel, and
// passes by itself: no advice about the EHR's rights mends it.
func (s *state) ordersFaults() []wire.Fault {
	n, at, trouble := s.register.Status()
	if _, lost := s.ehr.Status(); trouble == nil || errors.Is(trouble, fhir.ErrUnreachable) || lost != "" || s.cfg.Worklist == nil {
		return nil
	}
	since := "never read"
	if !at.IsZero() {
		since = "of " + at.UTC().Format(time.DateTime) + " UTC"
	}
	return []wire.Fault{{
		Severity: wire.Warning, Where: "worklist", What: fmt.Sprintf("it is %s, with %d orders: %v", since, n, trouble),
		Do: "have the EHR let the gateway list ServiceRequest and Appointment; devices get the orders known before meanwhile",
	}}
}
