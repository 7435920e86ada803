package presence

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"clinicgate/cardauth/card"
	"clinicgate/cardauth/config"
	"clinicgate/cardauth/proof"
	"clinicgate/cardauth/session"
)

var (
	here  = netip.MustParseAddr("10.20.0.50")
	there = netip.MustParseAddr("10.20.0.51")
)

// rooms plays the workstations: each link shows its own PIN and signs what it sees.
type rooms struct {
	*bench
	typed   string // what the holder types; empty: nothing
	asked   int
	channel []byte // as that end sees it
}

// Connect holds the card at the workstation.
func (r *rooms) Connect(reader string) (Link, error) {
	l, err := r.bench.Connect(reader)
	if err != nil {
		return nil, err
	}
	return &kept{Link: l, r: r, reader: reader}, nil
}

type kept struct {
	Link
	r      *rooms
	reader string
	card   card.Card
}

// End is this workstation.
func (k *kept) End() End { return End{Addr: here, Channel: []byte("channel")} }

// ShowPIN shows what is typed.
func (k *kept) ShowPIN(string) error {
	k.r.asked++
	if k.r.typed == "" {
		return ErrDeclined
	}
	var err error
	if k.card, err = card.Select(k.Link); err != nil {
		return err
	}
	return k.card.Verify([]byte(k.r.typed))
}

// Prove signs the challenge on this side's channel.
func (k *kept) Prove(u proof.Use, kind proof.Kind, c proof.Challenge) (Signed, error) {
	if k.card == nil {
		return Signed{}, errors.New("no card chosen")
	}
	c.Reader, c.Channel = k.reader, k.r.channel
	sig, err := k.card.Sign(u, kind, c.Message())
	return Signed{Signature: sig, Took: 10 * time.Millisecond}, err
}

// A room whose PIN is typed at its reader: the gateway sends none there, asks only
// for whoever sits there, and believes only what was signed for this connection.
func TestPINAtReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		far := &rooms{typed: rightPIN, channel: []byte("channel")}
		b := start(t, func(b *bench) {
			far.bench = b
			b.clinic.Readers[1].Agent = true
			b.clinic.Readers = append(b.clinic.Readers, config.Reader{Match: "nobody's", Room: "c", Agent: true})
			b.clinic.Rooms = far
		})
		defer b.end()
		c := b.card("1")
		in := session.Login{Room: "b", CertHash: "ws", From: here}
		want := func(in session.Login, kind session.Kind, asked int) {
			t.Helper()
			before := far.asked
			_, err := b.clinic.Login(t.Context(), in)
			var ref *session.Refusal
			if !errors.As(err, &ref) || ref.Kind != kind || far.asked-before != asked {
				t.Fatalf("got %v after asking %d times, want %s after %d", err, far.asked-before, kind, asked)
			}
		}
		b.put("reader B 00", c, false)
		typed := in
		typed.PIN = []byte(rightPIN)
		want(typed, session.PINAtReader, 0)
		elsewhere := in
		elsewhere.From = there
		want(elsewhere, session.Elsewhere, 0)
		want(session.Login{Room: "c", From: here}, session.NoReader, 0)
		far.typed = ""
		want(in, session.NoPIN, 1)
		far.typed = "111111"
		want(in, session.WrongPIN, 1)
		time.Sleep(time.Second)
		far.typed, far.channel = rightPIN, []byte("another gateway's")
		want(in, session.Untrusted, 1)
		far.channel = []byte("channel")
		s, err := b.clinic.Login(t.Context(), in)
		if err != nil || c.Tries() != 3 {
			t.Fatalf("login: %v, %d tries left", err, c.Tries())
		}
		time.Sleep(5 * time.Second)
		if !b.lives(s) {
			t.Fatal("the session did not live on")
		}
		far.channel = []byte("hijacked")
		time.Sleep(time.Second)
		if b.lives(s) {
			t.Error("a proof made for another connection kept the session alive")
		}
	})
}
