// Package broker brings files to an MQTT 5 broker outside the clinic, in the topics
// and pieces that this gateway itself takes files in (docs/devices.md). Its one
// guarantee: a file is reported as delivered only when the broker has taken over all
// of it or, where that is asked for, when the receiver behind it has answered with
// the file's SHA-256.
//
// Each file has a session of its own at the broker, known by the file alone. So an
// exchange of QoS 2 that broke goes on where it was, after a stop of this program as
// from the other box of the pair, and a broker that kept its session passes each
// message on once. A broker that forgot it, or that offers QoS 1, may pass a message
// on twice: each bears the file's idempotency-key, by which receivers tell.
package broker

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"

	"github.com/mochi-mqtt/server/v2/packets"

	"clinicgate/syncd/deliver"
	"clinicgate/syncd/deliver/progress"
	"clinicgate/syncd/queue"
)

// Piece is the most that one message bears: what is sent again, at most, after a cut.
const Piece = 1 << 20

// Sender is one broker.
type Sender struct {
	Addr           string // host:port
	Prefix         string // of all topics
	User, Password string
	Site           string // tells our sessions from other clinics'
	// TLS is asked for each connection: certificates are replaced while we run.
	TLS      func() (*tls.Config, error)
	Progress *progress.File
	Key      func(queue.Item) string
	Receiver bool // the receiver's answer is the proof, not the broker's
}

// A mark is how far a file has come.
type mark struct {
	Piece int64  `json:"piece"`        // size of its messages
	From  int64  `json:"from"`         // so much of it the broker has passed on
	To    int64  `json:"to,omitempty"` // so much it has taken over
	ID    uint16 `json:"id,omitempty"` // of the message up to there
	Over  bool   `json:"over,omitempty"`
}

// Send brings one file there.
//
//	PUBLISH n     stop before PUBREC: sent again as n, the broker knows the id
//	PUBREC n
//	  mark        stop before: the same; after: PUBREL is sent again, and no PUBLISH
//	PUBREL n      stop before PUBCOMP: the same
//	PUBCOMP n     the next piece
//	mark: over    stop before the queue notes it: over, nothing is sent again
func (s *Sender) Send(ctx context.Context, it queue.Item, tried bool, body deliver.Body) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, deliver.Patience(it.Size))
	defer cancel()
	f := &file{Sender: s, Item: it, name: s.session(it), key: s.Key(it)}
	if f.topic = topic(s.Prefix, it); f.topic == "" {
		return "", deliver.Refuse("no topic takes files of kind %s", it.Kind)
	}
	if text := s.Progress.Get(f.key); text != "" {
		_ = json.Unmarshal([]byte(text), &f.at) // what can't be read is a file not begun
	}
	if f.at.Over && !s.Receiver {
		return f.proof(), nil
	}
	l, err := f.open(ctx)
	if err != nil {
		return "", err
	}
	defer l.conn.Close()
	defer context.AfterFunc(ctx, func() { l.conn.Close() })()
	if err := f.bring(l, body); err != nil {
		return "", err
	}
	if s.Receiver && !l.answered {
		if err := l.wait(); err != nil {
			return "", err
		}
	}
	l.leave()
	return f.proof(), nil
}

// A file is one on its way.
type file struct {
	*Sender
	queue.Item
	name, key, topic string
	at               mark
}

func (f *file) proof() string {
	if f.Receiver {
		return "the receiver has it, by its SHA-256"
	}
	return "taken over by the broker"
}

// open connects with the file's session and puts away what the file's mark can't
// be continued with.
func (f *file) open(ctx context.Context) (*link, error) {
	l, err := f.connect(ctx, false)
	if err == nil && f.at.Piece != 0 && f.at.Piece != l.piece { // what an id stands for has changed
		l.conn.Close()
		f.at = mark{}
		l, err = f.connect(ctx, true)
	}
	if err != nil {
		return nil, err
	}
	if !l.present && f.Receiver && f.at.Over { // the answer went with the session
		f.at = mark{}
	}
	f.at.Piece = l.piece
	if f.Receiver {
		if err := l.listen(); err != nil {
			l.conn.Close()
			return nil, err
		}
	}
	return l, nil
}

// note keeps how far the file is.
func (f *file) note() error {
	text, err := json.Marshal(f.at)
	if err == nil {
		err = f.Progress.Put(f.key, string(text))
	}
	if err != nil {
		return fmt.Errorf("keep the place of a file: %w", err)
	}
	return nil
}

// bring publishes what is missing.
func (f *file) bring(l *link, body deliver.Body) error {
	if f.at.Over || l.answered {
		return nil
	}
	if err := f.resume(l); err != nil {
		return err
	}
	from, err := body()
	if err != nil {
		return fmt.Errorf("read item: %w", err)
	}
	defer from.Close()
	if _, err := io.CopyN(io.Discard, deliver.Aside(from), f.at.From); err != nil {
		return fmt.Errorf("read item: %w", err)
	}
	for again := l.present; f.at.From < f.Size; again = false {
		if err := f.publish(l, from, again); err != nil {
			return err
		}
	}
	f.at.Over = true
	return f.note()
}

// resume ends the exchange that was going on, if the broker knows of it.
func (f *file) resume(l *link) error {
	switch {
	case f.at.ID == 0:
		return nil
	case l.qos == 2 && !l.present: // it may have gone with the session
		return nil
	case l.qos == 2:
		if err := l.release(f.at.ID); err != nil {
			return err
		}
	}
	f.at.From = f.at.To
	return nil
}

// publish brings one piece. again says that the broker may know its id.
func (f *file) publish(l *link, from io.Reader, again bool) error {
	n := min(l.piece, f.Size-f.at.From)
	id := f.at.ID%65535 + 1
	pk := f.message(l, n)
	pk.PacketID, pk.FixedHeader.Dup = id, again
	if err := l.publish(pk, from, n); err != nil {
		return err
	}
	taken := packets.Puback
	if l.qos == 2 {
		taken = packets.Pubrec
	}
	ack, err := l.await(taken, id)
	if err != nil {
		return err
	}
	if err := f.verdict(l, ack.ReasonCode); err != nil {
		return err
	}
	f.at.To, f.at.ID = f.at.From+n, id
	if err := f.note(); err != nil {
		return err
	}
	if l.qos == 2 {
		if err := l.release(id); err != nil {
			return err
		}
	}
	f.at.From = f.at.To
	return nil
}
