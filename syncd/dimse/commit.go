package dimse

import (
	"context"
	"log/slog"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/identifier"
)

// Storage Commitment, push model (PS3.4 annex J).
const (
	Commitment         = "1.2.840.10008.1.20.1"
	commitmentInstance = "1.2.840.10008.1.20.1.1"
	actionRequest      = 1      // N-ACTION type: request storage commitment
	eventAll           = 1      // N-EVENT-REPORT type: all are kept
	eventSome          = 2      // some are not
	maxCommitted       = 10_000 // instances in one request
	failNoInstance     = 0x0112 // failure reason: no such object instance
	failOtherClass     = 0x0119 // class and instance conflict
)

const (
	tagRefClass    = dataset.Tag(0x00081150)
	tagRefInstance = dataset.Tag(0x00081155)
	tagTransaction = dataset.Tag(0x00081195)
	tagFailReason  = dataset.Tag(0x00081197)
	tagFailed      = dataset.Tag(0x00081198)
	tagReferenced  = dataset.Tag(0x00081199)
)

// Ledger says what is kept durably. class is that of the instance kept; empty: there
// is none.
type Ledger interface {
	Kept(instance string) (class string)
}

// commit answers an N-ACTION that asks whether instances are kept, and then reports
// which are: to the address the site gives for the asker, else on this association.
func (s *service) commit(up *upload, explicit bool, caller string) {
	set, err := identifier.Parse(up.data, explicit)
	refs, _ := set.Get(tagReferenced)
	transaction := set.Text(tagTransaction)
	switch {
	case err != nil:
		s.answer(up, statusBadArgument, err.Error(), nil)
		return
	case up.rq.Type != actionRequest:
		s.answer(up, statusNoAction, "want action 1", nil)
		return
	case transaction == "" || len(transaction) > 64 || len(refs.Items) == 0 || len(refs.Items) > maxCommitted:
		s.answer(up, statusBadArgument, "want a transaction and 1 to 10000 instances", nil)
		return
	}
	s.answer(up, Success, "", nil)
	kept, failed := sortOut(refs.Items, s.ledger)
	event := command.Command{
		Field: command.EventRQ, MessageID: 1, Class: Commitment, Instance: commitmentInstance, HasData: true, Type: eventAll,
	}
	out := identifier.Set{{Tag: tagTransaction, VR: "UI", Value: []byte(transaction)}}
	if len(failed) > 0 {
		event.Type = eventSome
		out = append(out, identifier.Element{Tag: tagFailed, VR: "SQ", Items: failed})
	}
	if len(kept) > 0 {
		out = append(out, identifier.Element{Tag: tagReferenced, VR: "SQ", Items: kept})
	}
	s.log.Info("dicom storage commitment", "caller", caller, "kept", len(kept), "failed", len(failed))
	if s.report != nil && s.report(caller, event, out) {
		return
	}
	s.send(s.context, command.Append(nil, event), identifier.Append(nil, out, explicit))
}

// sortOut holds what is asked about against what is kept.
func sortOut(refs []identifier.Set, l Ledger) (kept, failed []identifier.Set) {
	for _, r := range refs {
		class, instance := r.Text(tagRefClass), r.Text(tagRefInstance)
		one := identifier.Set{
			{Tag: tagRefClass, VR: "UI", Value: []byte(class)},
			{Tag: tagRefInstance, VR: "UI", Value: []byte(instance)},
		}
		reason := 0
		switch have := l.Kept(instance); {
		case have == "" || instance == "":
			reason = failNoInstance
		case have != class:
			reason = failOtherClass
		default:
			kept = append(kept, one)
			continue
		}
		failed = append(failed, append(one, identifier.Element{Tag: tagFailReason, VR: "US", Value: []byte{byte(reason), byte(reason >> 8)}}))
	}
	return kept, failed
}

// reporter returns what takes reports to askers that have an address of their own;
// it says whether it does. Reports end with ctx.
func (s *Server) reporter(ctx context.Context) func(caller string, event command.Command, set identifier.Set) bool {
	return func(caller string, event command.Command, set identifier.Set) bool {
		addr := s.opt.Peers[caller]
		if addr == "" {
			return false
		}
		select {
		case s.reporting <- struct{}{}:
		default:
			s.opt.Log.Warn("dicom storage commitment not reported: too many at once", "caller", caller)
			return true // it asks again
		}
		s.reports.Go(func() {
			defer func() { <-s.reporting }()
			c := call{addr: addr, calling: s.opt.Title, called: caller, timeout: s.opt.Timing.ARTIM}
			reportAgain(ctx, s.opt.Log.With("caller", caller), func() error { return c.event(ctx, event, set) })
		})
		return true
	}
}

// reportAgain tries until it works, or gives up after the last wait: an asker that
// hears nothing asks again.
func reportAgain(ctx context.Context, log *slog.Logger, try func() error) {
	for i, wait := range reportWaits() {
		pause(ctx, wait)
		if ctx.Err() != nil {
			return
		}
		err := try()
		if err == nil {
			log.Info("dicom storage commitment reported", "attempt", i+1)
			return
		}
		log.Warn("dicom storage commitment not reported", "attempt", i+1, "err", err)
	}
}
