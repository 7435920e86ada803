package room

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"clinicgate/cardauth/agent/frame"
	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/card"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/proof"
)

// A desk does what the gateway asks, one thing after another, with one card. What
// is below run belongs to its goroutine.
type desk struct {
	*Station
	line    *line
	channel []byte
	work    chan frame.Request

	mu   sync.Mutex
	now  frame.Reader // as seen last
	stop func()       // ends the question for a PIN

	link   Link // nil: no card held
	card   card.Card
	reader string // that link is in
	shown  bool   // a PIN was shown on this link
}

func (d *desk) run(ctx context.Context) {
	defer d.letGo()
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-d.work:
			a, err := d.do(ctx, q)
			a.ID = q.ID
			if err != nil {
				a.Error = failure(err)
			}
			d.line.send(a)
		}
	}
}

// refusal is a request that no gateway of ours makes.
type refusal struct{ why string }

// Error says what was asked for.
func (r *refusal) Error() string { return r.why }

var errNotHeld = errors.New("no card is held")

func (d *desk) do(ctx context.Context, q frame.Request) (frame.Answer, error) {
	if q.Do == frame.Open {
		return frame.Answer{}, d.open()
	}
	if d.link == nil {
		return frame.Answer{}, errNotHeld
	}
	switch q.Do {
	case frame.Close:
		d.letGo()
		return frame.Answer{}, nil
	case frame.Transmit:
		return d.transmit(q.Command)
	case frame.PIN:
		return frame.Answer{}, d.showPIN(ctx, q.Question)
	case frame.Prove:
		return d.prove(q.Proof)
	}
	d.Log.Warn("the gateway asked for what it may not", "what", q.Do)
	return frame.Answer{}, &refusal{"no such request"}
}

// open holds the card that is in, reset.
func (d *desk) open() error {
	d.letGo()
	d.mu.Lock()
	name := d.now.Name
	d.mu.Unlock()
	if name == "" {
		return pcsc.ErrNoCard
	}
	l, err := d.Readers.Connect(name)
	if err != nil {
		return err
	}
	d.link, d.reader, d.shown, d.card = l, name, false, nil
	return nil
}

// letGo resets the card and gives it up.
func (d *desk) letGo() {
	if d.link != nil {
		d.link.Close()
	}
	d.link, d.card, d.shown = nil, nil, false
}

// transmit passes one command on, if it may.
func (d *desk) transmit(cmd []byte) (frame.Answer, error) {
	if err := frame.Allowed(cmd, d.shown); err != nil {
		d.Log.Warn("the gateway sent a command that it may not", "why", err)
		return frame.Answer{}, &refusal{err.Error()}
	}
	if cmd[1] == 0xA4 {
		d.card = nil // another application or file may be chosen now
	}
	answer, err := d.link.Transmit(cmd)
	return frame.Answer{Data: answer}, err
}

// chosen is the card's application, chosen by this side: what the gateway chose
// does not count.
func (d *desk) chosen() (card.Card, error) {
	if d.card == nil {
		c, err := card.Select(d.link)
		if err != nil {
			return nil, err
		}
		d.card = c
	}
	return d.card, nil
}

// showPIN has the PIN typed and shows it to the card, once, after a look at how
// many tries are left: none is spent for a gateway that goes on asking.
func (d *desk) showPIN(ctx context.Context, question string) error {
	c, err := d.chosen()
	if err != nil {
		return err
	}
	left, err := c.Tries()
	if err != nil {
		return err
	}
	if left == 0 {
		return pin.ErrBlocked
	}
	if p, ok := d.link.(Pad); ok && p.HasPad() {
		err = fromPad(c.VerifyBy(p.VerifyOnPad))
	} else {
		err = d.ask(ctx, c, plainText(question))
	}
	d.shown = d.shown || err == nil
	return err
}

// fromPad sorts out what the reader, not the card, says (PC/SC part 10 §2.5.3).
func fromPad(err error) error {
	var said *apdu.StatusError
	if errors.As(err, &said) {
		switch said.Status {
		case 0x6400, 0x6401: // nobody typed, or cancelled
			return errDeclined
		case 0x6403: // too short or too long
			return pin.ErrForm
		}
	}
	return err
}

// ask has the PIN typed at the workstation.
func (d *desk) ask(ctx context.Context, c card.Card, question string) error {
	ctx, cancel := context.WithTimeout(ctx, asking)
	defer cancel()
	d.onCardOut(cancel)
	defer d.onCardOut(nil)
	digits, err := d.Asker.Ask(ctx, question)
	defer clear(digits)
	if err != nil || len(digits) == 0 {
		if err != nil {
			d.Log.Info("no PIN was typed", "err", err)
		}
		return errDeclined
	}
	return c.Verify(digits)
}

// onCardOut sets what ends a question when the card it is about leaves.
func (d *desk) onCardOut(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stop = f
}

var errDeclined = errors.New("no PIN was typed")

// plainText keeps a question from being more than a line of text.
func plainText(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}

// prove signs the challenge as this side sees it: its own connection, its own
// reader. The gateway has no word in that.
func (d *desk) prove(p *frame.Proof) (frame.Answer, error) {
	if p == nil {
		return frame.Answer{}, &refusal{"a proof of nothing"}
	}
	ch := proof.Challenge{
		Purpose: p.Purpose, Reader: ReaderName(d.Room, d.reader), Session: p.Session,
		Channel: d.channel, About: p.About, Nonce: p.Nonce,
	}
	if err := ch.Check(); err != nil {
		return frame.Answer{}, &refusal{err.Error()}
	}
	c, err := d.chosen()
	if err != nil {
		return frame.Answer{}, err
	}
	start := time.Now()
	sig, err := c.Sign(proof.Use(p.Use), proof.Kind(p.Kind), ch.Message())
	return frame.Answer{Data: sig, Took: max(1, time.Since(start).Microseconds())}, err
}

// ReaderName is what both sides call a room's reader.
func ReaderName(room, reader string) string { return "agent/" + room + "/" + reader }

// failure says an error in the protocol's words.
func failure(err error) *frame.Failure {
	f := &frame.Failure{Kind: frame.Broken, Text: err.Error()}
	var wrong *pin.Wrong
	var status *apdu.StatusError
	var no *refusal
	switch {
	case errors.As(err, &wrong):
		f.Kind, f.Left = frame.WrongPIN, wrong.Left
	case errors.Is(err, pin.ErrBlocked):
		f.Kind = frame.Blocked
	case errors.Is(err, pin.ErrForm):
		f.Kind = frame.BadPIN
	case errors.Is(err, errDeclined):
		f.Kind = frame.Declined
	case errors.As(err, &status):
		f.Kind, f.Status = frame.Status, uint16(status.Status)
	case errors.As(err, &no):
		f.Kind = frame.Refused
	case errors.Is(err, pcsc.ErrNoCard):
		f.Kind = frame.NoCard
	case errors.Is(err, pcsc.ErrInUse):
		f.Kind = frame.InUse
	}
	return f
}
