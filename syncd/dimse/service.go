package dimse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/dimse/association"
	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/identifier"
	"clinicgate/syncd/dimse/pdu"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/queue"
)

// service is the message layer of one association (PS3.7 §6.3, PS3.8 annex E): it
// puts fragments together, one message at a time, and answers. Requests are
// answered in order, none is started while another runs, as we agreed to no
// asynchronous operations.
type service struct {
	door Door
	send func(context byte, command, data []byte)
	log  *slog.Logger

	worklist Worklist // nil: none is answered
	ledger   Ledger   // nil: no commitment is given
	report   func(caller string, event command.Command, set identifier.Set) bool

	pending []byte  // fragments of a command set
	context byte    // of the message being received
	request *upload // its data set is being received; nil between messages

	stored, refused int
}

// explicitLittle is the transfer syntax with VRs that small data sets may come in.
const explicitLittle = "1.2.840.10008.1.2.1"

// upload is a request whose data set comes in. For a C-STORE the data set runs
// through a pipe to the door, so its sender is slowed to what the disk takes and
// no more than a PDU is in memory.
type upload struct {
	rq      command.Command
	pipe    *io.PipeWriter // nil: the data set is read and dropped
	answer  chan answer    // what the door said, one value
	refusal error          // what was said without asking the door
	gather  func()         // of a small data set: called with all of it in data
	data    []byte
	began   time.Time
}

type answer struct {
	receipt queue.Receipt
	err     error
}

// data takes the fragments of a P-DATA-TF. An error means that the peer doesn't
// keep to the message rules; the association must be aborted.
func (s *service) data(ctx context.Context, a *association.Agreed, d *pdu.Data) error {
	for _, v := range d.PDVs {
		busy := s.request != nil || len(s.pending) > 0
		switch {
		case busy && v.Context != s.context:
			return fmt.Errorf("fragment in context %d inside a message in %d", v.Context, s.context)
		case v.Command && s.request != nil:
			return errors.New("command inside a data set")
		case !v.Command && s.request == nil:
			return errors.New("data set without a command")
		}
		s.context = v.Context
		if !v.Command {
			s.fragment(v)
			continue
		}
		if len(s.pending)+len(v.Value) > command.MaxSize {
			return fmt.Errorf("command set over %d bytes", command.MaxSize)
		}
		s.pending = append(s.pending, v.Value...)
		if !v.Last {
			continue
		}
		rq, err := command.Parse(s.pending)
		s.pending = nil
		if err != nil {
			return err
		}
		s.begin(ctx, a, rq)
	}
	return nil
}

// begin starts on a request: at once, or when its data set has come.
func (s *service) begin(ctx context.Context, a *association.Agreed, rq command.Command) {
	if !rq.Field.Request() {
		s.log.Info("dicom message skipped", "command", rq.Field.String())
		if !rq.HasData {
			return
		}
	}
	s.request = &upload{rq: rq, began: time.Now(), refusal: s.refusal(a, rq)}
	if s.request.refusal == nil {
		s.start(ctx, a)
	}
	if !rq.HasData {
		s.finish()
	}
}

// start makes ready for the data set of a request that is served.
func (s *service) start(ctx context.Context, a *association.Agreed) {
	up, explicit := s.request, a.Contexts[s.context].Syntax == explicitLittle
	switch up.rq.Field {
	case command.StoreRQ:
		s.store(ctx, a)
	case command.FindRQ:
		up.gather = func() { s.find(up, explicit, a.Caller) }
	case command.ActionRQ:
		up.gather = func() { s.commit(up, explicit, a.Caller) }
	}
}

// refusal is what a request gets without anyone looking at its data set.
func (s *service) refusal(a *association.Agreed, rq command.Command) error {
	class := a.Contexts[s.context].Class
	switch {
	case rq.Class != class && (rq.Field == command.FindRQ || rq.Field == command.ActionRQ):
		return &statusError{statusNoClass, "class is not the context's"}
	case rq.Field == command.FindRQ && class == WorklistFind:
		if !rq.HasData {
			return &statusError{statusMistyped, "C-FIND without an identifier"}
		}
		return nil
	case rq.Field == command.ActionRQ && class == Commitment:
		if !rq.HasData || rq.Instance != commitmentInstance {
			return &statusError{statusNoInstance, "want the well-known instance and a list"}
		}
		return nil
	case rq.Field != command.StoreRQ && rq.Field != command.EchoRQ:
		return &statusError{statusUnrecognized, rq.Field.String() + " is not served"}
	case rq.Class != class:
		return &statusError{statusNoClass, "class is not the context's"}
	case rq.Field == command.EchoRQ:
		return nil
	case class == dataset.Verification || class == WorklistFind || class == Commitment:
		return &statusError{statusNoClass, "C-STORE in another service's context"}
	case !rq.HasData:
		return &statusError{statusMistyped, "C-STORE without a data set"}
	case rq.Instance == "":
		return &statusError{statusBadInstance, "no SOP instance UID"}
	}
	return nil
}

// store opens the pipe to the door. The door runs beside the socket so that its
// wait for the disk and ours for the peer overlap; fragment and finish join them.
func (s *service) store(ctx context.Context, a *association.Agreed) {
	r, w := io.Pipe()
	up := s.request
	up.pipe, up.answer = w, make(chan answer, 1)
	in := ingest.Instance{
		Class: up.rq.Class, Instance: up.rq.Instance, Syntax: a.Contexts[s.context].Syntax, Origin: a.Caller,
	}
	go func() {
		receipt, err := s.door.Instance(ctx, in, r)
		r.CloseWithError(errAnswered) // what still comes is of no use
		up.answer <- answer{receipt, err}
	}()
}

// errAnswered meets a data set that was refused before its end.
var errAnswered = errors.New("answered before the end")

// fragment passes a piece of a data set on. If the door has answered already, or
// nobody wants it, it is dropped: the peer gets its answer after the last piece.
func (s *service) fragment(v pdu.PDV) {
	if up := s.request; up.gather != nil {
		if up.data = append(up.data, v.Value...); len(up.data) > identifier.MaxSize {
			up.data, up.gather, up.refusal = nil, nil, &statusError{statusMistyped, "identifier too long"}
		}
	}
	if w := s.request.pipe; w != nil {
		if len(v.Value) > 0 {
			_, _ = w.Write(v.Value) // it fails when the door has answered; finish finds the answer
		}
		if v.Last {
			w.Close()
		}
	}
	if v.Last {
		s.finish()
	}
}

// finish answers the request. Only here is success said, and only from a door
// that returned a receipt.
func (s *service) finish() {
	up := s.request
	s.request = nil
	if up.gather != nil {
		up.gather()
		return
	}
	got := answer{err: up.refusal}
	if up.answer != nil {
		got = <-up.answer
	}
	if !up.rq.Field.Request() {
		return
	}
	status, comment := statusOf(got.err)
	s.record(up, got, status)
	s.send(s.context, command.Append(nil, command.Command{
		Field: up.rq.Field.Response(), RespondedTo: up.rq.MessageID, Class: up.rq.Class, Instance: up.rq.Instance,
		Status: uint16(status), Comment: comment, Type: up.rq.Type,
	}), nil)
}

// record counts and logs. UIDs stay out of the log: they lead to a patient.
func (s *service) record(up *upload, got answer, status Status) {
	class, _ := dataset.FindClass(up.rq.Class)
	took := time.Since(up.began).Milliseconds()
	switch {
	case got.err != nil:
		s.refused++
		s.log.Warn("dicom refused", "command", up.rq.Field.String(), "class", class.Name, "status", status.String(), "err", got.err, "ms", took)
	case up.answer != nil:
		s.stored++
		s.log.Info("dicom stored", "item", got.receipt.ID.String(), "class", class.Name, "bytes", got.receipt.Size, "ms", took)
	}
}

// end drops what has begun: the door sees why, keeps nothing, and its answer is
// waited for, so that nothing of an association outlives it.
func (s *service) end(why error) {
	if s.request == nil {
		return
	}
	if up := s.request; up.answer != nil {
		up.pipe.CloseWithError(why)
		if got := <-up.answer; got.err != nil {
			s.refused++
			s.log.Warn("dicom refused", "command", up.rq.Field.String(), "err", got.err)
		}
	}
	s.request = nil
}
