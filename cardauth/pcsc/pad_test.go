//go:build cgo || windows

package pcsc

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/ebfe/scard"

	"clinicgate/cardauth/pin"
	"clinicgate/cardauth/piv"
	"clinicgate/cardauth/proof"
	"clinicgate/firmware/lab/pivcard"
)

// A keyed is PC/SC's handle of a card in a reader with keys of its own, as PC/SC part
// 10 says such a reader behaves.
type keyed struct {
	card     *pivcard.Card
	protocol scard.Protocol
	typed    string
	features []byte // what it says of itself
	late     error  // of the transmission
	sent     [][]byte
}

const verifyPIN = 0x42330006 // this reader's code for FEATURE_VERIFY_PIN_DIRECT

// Transmit notes what the computer sends.
func (k *keyed) Transmit(cmd []byte) ([]byte, error) {
	k.sent = append(k.sent, append([]byte(nil), cmd...))
	return k.card.Transmit(cmd), k.late
}

// Control answers GET_FEATURE_REQUEST, and has a PIN typed.
func (k *keyed) Control(code uint32, in []byte) ([]byte, error) {
	switch {
	case code == getFeatures() && k.features != nil:
		return k.features, nil
	case code != verifyPIN || len(in) < 19:
		return nil, scard.ErrInvalidParameter
	}
	// PIN_VERIFY_STRUCTURE (part 10 §2.5.2): bmFormatString at 2, the PIN's most and
	// least digits at 5 and 6, the command's length at 15, the command.
	if n := binary.LittleEndian.Uint32(in[15:]); in[2] != 0x82 || int(n) != len(in)-19 {
		return nil, scard.ErrInvalidParameter
	}
	switch n := len(k.typed); {
	case n == 0:
		return []byte{0x64, 0x01}, nil // cancelled
	case n < int(in[6]) || n > int(in[5]):
		return []byte{0x64, 0x03}, nil
	}
	cmd := append([]byte(nil), in[19:]...)
	copy(cmd[5:], k.typed)
	return k.card.Transmit(cmd), k.late
}

// ActiveProtocol is as set.
func (k *keyed) ActiveProtocol() scard.Protocol { return k.protocol }

// Reconnect does nothing.
func (k *keyed) Reconnect(scard.ShareMode, scard.Protocol, scard.Disposition) error { return nil }

// Disconnect does nothing.
func (k *keyed) Disconnect(scard.Disposition) error { return nil }

// A reader with keys asks for the PIN itself: what the computer sends never has it,
// the card has it once, and says how many tries are left.
func TestPINPad(t *testing.T) {
	raw, err := pivcard.New("123456")
	if err != nil {
		t.Fatal(err)
	}
	k := &keyed{card: raw, protocol: scard.ProtocolT1, features: []byte{0x12, 4, 0x42, 0, 0x0D, 0xB2, 0x06, 4, 0x42, 0x33, 0, 0x06}}
	c := &Card{card: k}
	if !c.HasPad() {
		t.Fatal("its keys were not found")
	}
	p, err := piv.Select(c)
	if err != nil {
		t.Fatal(err)
	}
	show := func(typed string) error { k.typed = typed; return p.VerifyBy(c.VerifyOnPad) }
	var wrong *pin.Wrong
	if err := show("111111"); !errors.As(err, &wrong) || wrong.Left != 2 {
		t.Errorf("a wrong PIN: %v", err)
	}
	for _, typed := range []string{"", "12", "123456789"} {
		if err := show(typed); err == nil || raw.Tries() != 2 {
			t.Errorf("%q: %v, %d tries left", typed, err, raw.Tries())
		}
	}
	if err := show("123456"); err != nil || raw.Tries() != 3 {
		t.Fatalf("the right PIN: %v, %d tries left", err, raw.Tries())
	}
	if _, err := p.Sign(proof.Authentication, proof.P256, []byte("m")); err != nil {
		t.Error(err)
	}
	for _, cmd := range k.sent {
		if cmd[1] == 0x20 && len(cmd) > 5 {
			t.Errorf("the computer sent a PIN: %X", cmd)
		}
	}
	k.late = scard.ErrRemovedCard
	if err := show("123456"); !errors.Is(err, ErrNoCard) || !c.broken {
		t.Errorf("taken out meanwhile: %v", err)
	}
	for _, features := range [][]byte{nil, {}, {0x12, 4, 0, 0, 0, 1}, {0x06, 4, 1}} {
		if k.features = features; c.HasPad() {
			t.Errorf("features %X: keys were found", features)
		}
	}
}

// Over T=0 commands are as that protocol has them.
func TestT0(t *testing.T) {
	raw, err := pivcard.New("123456", pivcard.WithOddities(pivcard.Oddities{T0: true, T0Strict: true}))
	if err != nil {
		t.Fatal(err)
	}
	c := &Card{card: &keyed{card: raw, protocol: scard.ProtocolT0}}
	p, err := piv.Select(c)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := p.Tries(); n != 3 || err != nil {
		t.Errorf("%d tries, %v", n, err)
	}
	if err := p.Verify([]byte("123456")); err != nil {
		t.Error(err)
	}
}
