// Package cstore brings DICOM instances to a node that speaks DIMSE only (PS3.7,
// PS3.8): a viewer, an older archive. Its one guarantee: an instance is reported as
// delivered only when the node answered its C-STORE with success, in an association
// in which it had answered a C-ECHO.
//
// To the node an instance is its SOP Instance UID: sent again it is the same one.
// There is no asking and no reading back in C-STORE, so the proof is weaker than an
// archive's over DICOMweb, and says so.
package cstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/pdu"
	"clinicgate/syncd/queue"
)

// Sender is one node.
type Sender struct {
	Addr    string // host:port
	Called  string // its AE title
	Calling string // ours
}

// Figures of an association.
const (
	silence      = 30 * time.Second // for the node's next answer, and for ours to be taken
	maxPDU       = 128 << 10        // read
	piece        = 16 << 10         // of a data set in one PDU; urgent items pass between two
	verification = "1.2.840.10008.1.1"
	implicit     = "1.2.840.10008.1.2"
	echoContext  = 1
	dataContext  = 3
)

// Send stores one instance there.
//
//	associate, C-ECHO    refused: the node doesn't let us in; no answer: unreachable
//	C-STORE              no answer: the next attempt stores again, the node knows the UID
func (s *Sender) Send(ctx context.Context, it queue.Item, tried bool, body deliver.Body) (string, error) {
	file, err := body()
	if err != nil {
		return "", fmt.Errorf("read item: %w", err)
	}
	defer file.Close()
	meta, _, err := dataset.ReadMeta(file)
	if err != nil {
		return "", deliver.Refuse("no DICOM file: %v", err)
	}
	if it.Meta[queue.MetaInstanceUID] != "" {
		meta.Instance = it.Meta[queue.MetaInstanceUID] // the data set's; headers are only copies
	}
	ctx, cancel := context.WithTimeout(ctx, deliver.Patience(it.Size))
	defer cancel()
	a, err := s.associate(ctx, meta)
	if err != nil {
		return "", err
	}
	defer a.conn.Close()
	defer context.AfterFunc(ctx, func() { a.conn.Close() })()
	if err := a.echo(); err != nil {
		return "", err
	}
	status, err := a.store(meta, file)
	if err != nil {
		return "", err
	}
	a.release()
	return verdict(status)
}

// unreachable is the failure of a connection.
func unreachable(what string, err error) error {
	return &deliver.Failure{Kind: deliver.Unreachable, Reason: what, Err: err}
}

// An association with the node.
type association struct {
	conn net.Conn
	in   *pdu.Reader
	most int // bytes of a fragment the node takes
	out  []byte
}

// associate asks for verification and for the instance's class in the transfer
// syntax it is written in: nothing is converted on the way.
func (s *Sender) associate(ctx context.Context, meta dataset.Meta) (*association, error) {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr)
	if err != nil {
		return nil, unreachable("no connection to "+s.Addr, err)
	}
	a := &association{conn: conn, in: pdu.NewReader(conn, maxPDU)}
	err = a.send(&pdu.AssociateRQ{
		Version: 1, Called: s.Called, Calling: s.Calling, Application: pdu.ApplicationContextUID,
		Contexts: []pdu.Context{
			{ID: echoContext, Abstract: verification, Transfer: []string{implicit}},
			{ID: dataContext, Abstract: meta.Class, Transfer: []string{meta.Syntax}},
		},
		User: pdu.User{MaxLength: maxPDU, ClassUID: dataset.ImplementationClassUID, VersionName: dataset.ImplementationVersion},
	})
	if err == nil {
		err = a.accepted()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return a, nil
}

// accepted reads the answer to the request.
func (a *association) accepted() error {
	got, err := a.read()
	if err != nil {
		return err
	}
	switch p := got.(type) {
	case *pdu.AssociateRJ:
		f := &deliver.Failure{Kind: deliver.Refusing, Reason: "rejects the association: " + rejection(p)}
		if p.Result == pdu.RejectedTransient {
			f.Kind = deliver.Unreachable
		}
		return f
	case *pdu.AssociateAC:
		a.most = piece
		if n := p.User.MaxLength; n >= 64 {
			a.most = min(a.most, int(n)-6)
		}
		for _, r := range p.Results {
			if r.ID == dataContext && r.Reason != pdu.ContextAccepted {
				return deliver.Refuse("the node does not take this kind of instance in its transfer syntax")
			}
		}
		return nil
	}
	return &deliver.Failure{Kind: deliver.Refusing, Reason: fmt.Sprintf("answers a request for an association with %v", got)}
}

// rejection says what a rejection means (PS3.8 table 9-21).
func rejection(p *pdu.AssociateRJ) string {
	switch {
	case p.Source == pdu.SourceUser && p.Reason == pdu.UserCalledUnknown:
		return "it has another AE title"
	case p.Source == pdu.SourceUser && p.Reason == pdu.UserCallingUnknown:
		return "it does not know our AE title"
	}
	return fmt.Sprintf("source %d, reason %d", p.Source, p.Reason)
}

func (a *association) send(p pdu.PDU) error {
	a.out = pdu.Append(a.out[:0], p)
	a.conn.SetDeadline(time.Now().Add(silence))
	if _, err := a.conn.Write(a.out); err != nil {
		return unreachable("the connection broke", err)
	}
	return nil
}

func (a *association) read() (pdu.PDU, error) {
	a.conn.SetDeadline(time.Now().Add(silence))
	p, err := a.in.Read()
	if err != nil {
		return nil, unreachable("no answer", err)
	}
	return p, nil
}

// command sends a command set and reads nothing.
func (a *association) command(context byte, c command.Command) error {
	return a.send(&pdu.Data{PDVs: []pdu.PDV{{Context: context, Command: true, Last: true, Value: command.Append(nil, c)}}})
}

// answer reads the response to a command.
func (a *association) answer(to command.Command) (command.Command, error) {
	var set []byte
	for {
		got, err := a.read()
		if err != nil {
			return command.Command{}, err
		}
		data, ok := got.(*pdu.Data)
		if !ok {
			return command.Command{}, unreachable(fmt.Sprintf("answers with %v", got), nil)
		}
		for _, v := range data.PDVs {
			if set = append(set, v.Value...); !v.Command || len(set) > command.MaxSize {
				return command.Command{}, nonsense("data in place of an answer")
			}
			if !v.Last {
				continue
			}
			rsp, err := command.Parse(set)
			switch {
			case err != nil:
				return rsp, nonsense(err.Error())
			case rsp.Field != to.Field.Response() || rsp.RespondedTo != to.MessageID:
				return rsp, nonsense("an answer to another message")
			}
			return rsp, nil
		}
	}
}

func nonsense(what string) error {
	return &deliver.Failure{Kind: deliver.Troubled, Reason: "the node sends " + what}
}

// echo asks whether the node works (PS3.4 annex A).
func (a *association) echo() error {
	rq := command.Command{Field: command.EchoRQ, MessageID: 1, Class: verification}
	if err := a.command(echoContext, rq); err != nil {
		return err
	}
	rsp, err := a.answer(rq)
	if err == nil && rsp.Status != 0 {
		err = &deliver.Failure{Kind: deliver.Unreachable, Reason: fmt.Sprintf("answers C-ECHO with status %04X", rsp.Status)}
	}
	return err
}

// store sends the instance piece by piece and returns the node's status.
func (a *association) store(meta dataset.Meta, data io.Reader) (uint16, error) {
	rq := command.Command{Field: command.StoreRQ, MessageID: 2, Class: meta.Class, Instance: meta.Instance, HasData: true}
	if err := a.command(dataContext, rq); err != nil {
		return 0, err
	}
	now, next := make([]byte, a.most), make([]byte, a.most)
	n, err := fill(data, now)
	for err == nil {
		var m int
		m, err = fill(data, next)
		if err != nil && !errors.Is(err, io.EOF) {
			break
		}
		if serr := a.send(&pdu.Data{PDVs: []pdu.PDV{{Context: dataContext, Last: m == 0, Value: now[:n]}}}); serr != nil {
			return 0, serr
		}
		if m == 0 {
			rsp, err := a.answer(rq)
			return rsp.Status, err
		}
		now, next, n, err = next, now, m, nil
	}
	if errors.Is(err, io.EOF) {
		return 0, deliver.Refuse("the instance has no data set")
	}
	return 0, fmt.Errorf("read item: %w", err)
}

// fill reads as much as fits; io.EOF only when there was nothing.
func fill(r io.Reader, b []byte) (int, error) {
	n, err := io.ReadFull(r, b)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, err
}

// release ends in good order; how the node says good-bye is its own.
func (a *association) release() {
	if a.send(&pdu.ReleaseRQ{}) == nil {
		_, _ = a.read()
	}
}

// verdict reads a status of C-STORE (PS3.4 §B.2.3, PS3.7 annex C).
func verdict(status uint16) (string, error) {
	f := &deliver.Failure{Kind: deliver.Troubled, Reason: fmt.Sprintf("answers C-STORE with status %04X", status)}
	switch {
	case status == 0:
		return "stored, says the node", nil
	case status == 0xB000 || status == 0xB006 || status == 0xB007:
		return fmt.Sprintf("stored, says the node, with warning %04X", status), nil
	case status>>8 == 0xA7:
		f.Kind = deliver.Unreachable
	case status == 0x0124:
		f.Kind = deliver.Refusing
	case status>>8 == 0xA9, status>>12 == 0xC, status == 0x0111, status == 0x0117, status == 0x0122:
		f.Kind = deliver.Refused
	}
	return "", f
}
