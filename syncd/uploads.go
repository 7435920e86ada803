package main

import (
	"context"
	"io"
	"path/filepath"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/allowance"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/dimse"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/mllp"
	"clinicgate/syncd/mqtt"
	"clinicgate/syncd/mqtt/pending"
	"clinicgate/syncd/partial"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/serve"
	"clinicgate/syncd/vault"
)

// openQueue opens what waits for delivery. Damage is said and nothing is given up
// then, but uploads go on.
func (s *state) openQueue() (err error) {
	s.pair = s.openPair()
	s.queue, err = queue.Open(filepath.Join(s.env.State, "queue"), queue.Options{Domain: s.vault.Domain(vault.Uploads), Share: s.share(), Pair: s.pair.secret()})
	if err != nil {
		return err
	}
	s.door = ingest.New(s.pair.accepter(noticing{s.queue, s.room("queue")}), s.env.Faults)
	if err := s.openParts(); err != nil {
		return err
	}
	s.deliver = deliver.New(s.queue, s.destinations(), deliver.Policy{Share: allowance.Policy(s.cfg.Share)}, s.env.Log)
	if err := s.pair.begin(); err != nil {
		return err
	}
	if damage := s.queue.Damage(); damage != nil {
		s.env.Faults.Raise(wire.Fault{
			ID: faultQueue, Severity: wire.Alarm, Where: "queue", What: damage.Error(),
			Do: "call support before anything else: an upload may be lost on this disk",
		})
	}
	return nil
}

// share is how much of the partition one device may fill: by default a half, so
// that the others always find room.
func (s *state) share() int64 {
	if s.cfg.Queue.Share > 0 {
		return s.cfg.Queue.Share
	}
	return disk(s.env.State).Total / 2
}

// openParts opens what has come in part so far.
func (s *state) openParts() error {
	parts, lost, err := partial.Open(filepath.Join(s.env.State, "parts"), s.vault.Domain(vault.Uploads), partial.Limits{})
	if err != nil {
		return err
	}
	if lost > 0 { // none of it was promised: the senders begin anew
		s.env.Log.Error("parts of uploads can't be read and were removed", "files", lost)
	}
	s.parts = parts
	return nil
}

// noticing is the queue with an ear on what did not fit.
type noticing struct {
	*queue.Queue
	ended func(error)
}

// Accept is the queue's.
func (n noticing) Accept(ctx context.Context, it queue.Item, body io.Reader) (queue.Receipt, error) {
	r, err := n.Queue.Accept(ctx, it, body)
	n.ended(err)
	return r, err
}

// ledger says which DICOM instances the queue keeps: those that wait, those that a
// person must look at, and those delivered within the retention.
type ledger struct{ queue *queue.Queue }

// Kept is the class of a kept instance.
func (l ledger) Kept(instance string) string {
	b, ok := l.queue.Named("dicom:" + instance)
	if !ok {
		return ""
	}
	it, err := l.queue.Describe(b.ID)
	if err != nil {
		return "" // what can't be read is not promised
	}
	return it.Meta[queue.MetaClassUID]
}

// uploads are the tasks of the ways in, of the queue and of the ways out.
func (s *state) uploads() []daemon.Task {
	tasks := append(s.pair.tasks(), daemon.Task{Name: "queue", Run: daemon.Every(time.Minute, s.maintain)})
	if len(s.cfg.Destinations) > 0 {
		tasks = append(tasks, daemon.Task{Name: "delivery", Run: s.deliver.Run})
	}
	if c := s.cfg.DICOM; c != nil {
		o := dimse.Options{Title: c.Title, Callers: c.Callers, Door: s.door, Log: s.env.Log, Ledger: ledger{s.queue}, Peers: c.Peers}
		if s.cfg.Worklist != nil {
			o.Worklist = s.register
		}
		node := dimse.New(o)
		tasks = append(tasks, s.endpoint("dicom", c.Listen, func() (serving, error) { return node.Serve, nil }))
	}
	if c := s.cfg.HL7; c != nil {
		server := mllp.New(mllp.Options{Door: s.door, Senders: c.Senders, Log: s.env.Log})
		tasks = append(tasks, s.endpoint("hl7", c.Listen, func() (serving, error) { return server.Serve, nil }))
	}
	if c := s.cfg.MQTT; c != nil {
		tasks = append(tasks, s.endpoint("mqtt", c.Listen, func() (serving, error) {
			conf, err := serve.TLS(s.env.Secrets, s.anchor(s.cfg.Devices))
			if err != nil {
				return nil, err
			}
			ids, lost, err := pending.Open(filepath.Join(s.env.State, "mqtt"), s.vault.Domain(vault.Devices))
			if err != nil {
				return nil, err
			}
			if lost > 0 { // forgetting is safe: what comes again is known by its content
				s.env.Log.Error("packet ids can't be read and are forgotten", "devices", lost)
			}
			broker, err := mqtt.New(mqtt.Options{TLS: conf, Door: s.door, Faults: s.env.Faults, IDs: ids, Parts: s.parts, Standing: s.standing, Log: s.env.Log})
			if err != nil {
				return nil, err
			}
			s.broker.Store(broker)
			return broker.Serve, nil
		}))
	}
	return tasks
}

// maintain gives room back that the queue does not need any more.
func (s *state) maintain(now time.Time) {
	if err := s.queue.Maintain(now); err != nil {
		s.env.Log.Error("maintain queue", "err", err)
	}
	if err := s.parts.Expire(now); err != nil {
		s.env.Log.Error("forget parts of uploads", "err", err)
	}
}
