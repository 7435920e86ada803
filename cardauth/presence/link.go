package presence

import (
	"crypto/x509"
	"errors"
	"net/netip"
	"time"

	"clinicgate/cardauth/apdu"
	"clinicgate/cardauth/card"
	"clinicgate/cardauth/proof"
)

// A Link is a card held with exclusive access. Close resets it. It belongs to one
// goroutine; after an error of Transmit only Close may be called.
type Link interface {
	apdu.Transport
	Close()
}

// A Keeper is a Link whose other end keeps the PIN and the card's voice to itself:
// there the PIN is typed, and there it is put together what the card signs. Errors
// are a card's (package pin, *apdu.StatusError) or ErrDeclined; after any other one
// the link is broken.
type Keeper interface {
	Link
	// End is where the link leads.
	End() End
	// ShowPIN has the holder asked for the PIN and shows it to the card, once.
	ShowPIN(question string) error
	// Prove has the key sign the challenge as that end sees it.
	Prove(proof.Use, proof.Kind, proof.Challenge) (Signed, error)
}

// End is the other end of a Keeper.
type End struct {
	Addr    netip.Addr // of the workstation
	Channel []byte     // exporter value of the connection, as we see it
}

// Signed is a signature and how long the card took over it, the way there and back
// left out.
type Signed struct {
	Signature []byte
	Took      time.Duration
}

// ErrDeclined is returned by ShowPIN when nobody typed a PIN: the card was not
// asked.
var ErrDeclined = errors.New("no PIN was typed")

// tracked is a link that remembers whether it broke, how long the card took over
// the last proof, and how long the slowest of the recent ones took all in all.
type tracked struct {
	Link
	broken      error
	took, worst time.Duration
}

// Transmit sends nothing after an error: what answers may be another card.
func (t *tracked) Transmit(cmd []byte) ([]byte, error) {
	if t.broken != nil {
		return nil, t.broken
	}
	resp, err := t.Link.Transmit(cmd)
	t.broken = err
	return resp, err
}

// keeper returns the link as one whose end keeps the PIN, if it is.
func (t *tracked) keeper() (Keeper, bool) {
	k, ok := t.Link.(Keeper)
	return k, ok
}

// A session at a workstation's reader must be over within a second of the link's
// death, which nobody tells us of: proofs there are never further apart, and later,
// than these.
const (
	farBeat = 400 * time.Millisecond
	farDue  = 900 * time.Millisecond
)

// between is the pause after the last proof.
func (t *tracked) between() time.Duration {
	most := maxBeat
	if _, far := t.keeper(); far {
		most = farBeat
	}
	return min(max(idle*t.took, minBeat), most)
}

// due is when the next proof must be there.
func (t *tracked) due(now time.Time) time.Time {
	wait := t.between() + max(patience, 4*t.worst)
	if _, far := t.keeper(); far {
		wait = min(wait, farDue)
	}
	return now.Add(wait)
}

// prove has a card sign the challenge and checks the signature.
func (t *tracked) prove(p *proofOf, use proof.Use, c proof.Challenge) error {
	start := time.Now()
	sig, took, err := t.sign(p, use, &c)
	all := time.Since(start)
	if took == 0 {
		took = all
	}
	t.took = took
	// A spell of slowness is forgotten within some ten proofs.
	t.worst = max(all, t.worst*3/4)
	if err != nil {
		return err
	}
	return proof.Check(p.key, c.Message(), sig)
}

// sign returns the signature and, where another end knows it, the card's own time.
// It fills in the channel.
func (t *tracked) sign(p *proofOf, use proof.Use, c *proof.Challenge) ([]byte, time.Duration, error) {
	k, remote := t.keeper()
	if !remote {
		sig, err := p.card.Sign(use, p.kind, c.Message())
		return sig, 0, err
	}
	if t.broken != nil {
		return nil, 0, t.broken
	}
	c.Channel = k.End().Channel
	s, err := k.Prove(use, p.kind, *c)
	t.note(err)
	return s.Signature, s.Took, err
}

// showPIN has the PIN typed at the other end.
func (t *tracked) showPIN(k Keeper, question string) error {
	if t.broken != nil {
		return t.broken
	}
	err := k.ShowPIN(question)
	t.note(err)
	return err
}

// note remembers a broken link; what the card said is no break.
func (t *tracked) note(err error) {
	if err != nil && !cardSays(err) {
		t.broken = err
	}
}

// cardSays tells a card's answer, or its holder's, from a broken link.
func cardSays(err error) bool {
	var status *apdu.StatusError
	return errors.As(err, &status) || errors.Is(err, ErrDeclined) || refusedPIN(err)
}

// A proofOf is what a live session's card must keep doing.
type proofOf struct {
	id   string // session
	card card.Card
	key  any // its public key
	kind proof.Kind
	use  proof.Use
	cert *x509.Certificate // whose key it is

	unproven bool // since the login: the PIN was shown right before
}
