package dimse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/identifier"
	"clinicgate/syncd/dimse/pdu"
)

// reportWaits are the waits before each attempt to report; the asker may still be
// closing the association it asked on.
func reportWaits() []time.Duration {
	return []time.Duration{200 * time.Millisecond, 2 * time.Second, 10 * time.Second, time.Minute, 5 * time.Minute}
}

// A call is an association that we ask for, to say one thing.
type call struct {
	addr, calling, called string
	timeout               time.Duration // for all of it
}

const implicitLittle = "1.2.840.10008.1.2"

// event reports an event as the provider of its class (PS3.7 §10.1.1), which the
// association must be asked for by role selection (§D.3.3.4).
func (c call) event(ctx context.Context, rq command.Command, set identifier.Set) error {
	conn, err := (&net.Dialer{Timeout: c.timeout}).DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.called, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetDeadline(time.Now().Add(c.timeout))
	in := pdu.NewReader(conn, 128<<10)
	most, err := c.associate(conn, in, rq.Class)
	if err != nil {
		return fmt.Errorf("call %s: %w", c.called, err)
	}
	out := appendFragments(nil, most, true, command.Append(nil, rq))
	out = appendFragments(out, most, false, identifier.Append(nil, set, false))
	if _, err := conn.Write(out); err != nil {
		return fmt.Errorf("call %s: %w", c.called, err)
	}
	if err := answered(in); err != nil {
		return fmt.Errorf("call %s: %w", c.called, err)
	}
	if _, err := conn.Write(pdu.Append(nil, &pdu.ReleaseRQ{})); err == nil {
		_, _ = in.Read() // the answer is known; how the peer says good-bye is its own
	}
	return nil
}

// associate asks for one class in the role of its provider, and returns the largest
// PDU the peer takes.
func (c call) associate(conn net.Conn, in *pdu.Reader, class string) (most int, err error) {
	rq := &pdu.AssociateRQ{
		Version: 1, Called: c.called, Calling: c.calling, Application: pdu.ApplicationContextUID,
		Contexts: []pdu.Context{{ID: 1, Abstract: class, Transfer: []string{implicitLittle}}},
		User: pdu.User{
			MaxLength: 128 << 10, ClassUID: dataset.ImplementationClassUID, VersionName: dataset.ImplementationVersion,
			Provides: []string{class},
		},
	}
	if _, err := conn.Write(pdu.Append(nil, rq)); err != nil {
		return 0, err
	}
	got, err := in.Read()
	if err != nil {
		return 0, err
	}
	ac, ok := got.(*pdu.AssociateAC)
	if !ok {
		return 0, fmt.Errorf("answers %v", got)
	}
	if len(ac.Results) != 1 || ac.Results[0].ID != 1 || ac.Results[0].Reason != pdu.ContextAccepted {
		return 0, errors.New("does not take reports of storage commitment")
	}
	if n := ac.User.MaxLength; n >= 256 && n < 128<<10 {
		return int(n) - 6, nil
	}
	return 64 << 10, nil
}

// answered reads the answer to the one request.
func answered(in *pdu.Reader) error {
	var set []byte
	for {
		got, err := in.Read()
		if err != nil {
			return err
		}
		data, ok := got.(*pdu.Data)
		if !ok {
			return fmt.Errorf("answers %v", got)
		}
		for _, v := range data.PDVs {
			if set = append(set, v.Value...); !v.Command || len(set) > command.MaxSize {
				return errors.New("answers with what is no answer")
			}
			if !v.Last {
				continue
			}
			rsp, err := command.Parse(set)
			switch {
			case err != nil:
				return err
			case rsp.Field != command.EventRQ.Response() || rsp.Status != 0:
				return fmt.Errorf("answers %v with status %04X", rsp.Field, rsp.Status)
			}
			return nil
		}
	}
}

// appendFragments appends the PDUs of one part of a message.
func appendFragments(out []byte, most int, isCommand bool, b []byte) []byte {
	for {
		n := min(most, len(b))
		last := n == len(b)
		out = pdu.Append(out, &pdu.Data{PDVs: []pdu.PDV{{Context: 1, Command: isCommand, Last: last, Value: b[:n]}}})
		if b = b[n:]; last {
			return out
		}
	}
}
