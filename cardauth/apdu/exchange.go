package apdu

import (
	"errors"
	"fmt"
)

// A Transport carries one command APDU to a card and brings back one response
// APDU. An error means that the card can't be talked to any more.
type Transport interface {
	Transmit(command []byte) ([]byte, error)
}

// Bounds on what one exchange takes from a card. A PIV certificate object is
// under 4 KiB; 64 KiB leaves room for odd ones.
const (
	maxAnswer = 64 << 10
	maxRounds = 300 // 64 KiB in answers of 256 bytes, and some empty ones
)

// ErrEndless is returned for a card that never ends its answer.
var ErrEndless = errors.New("card's answer does not end")

const claChain = 0x10

// Exchange sends a command and returns the card's whole answer. Data longer than
// 255 bytes goes in chained commands, which every PIV card should take, and to one
// that says it does not in one of extended length; an answer in
// pieces (61xx) is fetched with GET RESPONSE; 6Cxx is obeyed once. The bytes sent
// are wiped. An error says the exchange broke, a bad status word is no error.
func Exchange(t Transport, c Command) (Response, error) {
	for first := true; len(c.Data) > maxShortData; first = false {
		part := Command{c.Class | claChain, c.Ins, c.P1, c.P2, c.Data[:maxShortData], 0}
		r, err := once(t, part)
		if first && err == nil && (r.Status == NoChaining || r.Status == UnknownClass) {
			break
		}
		if err != nil || r.Status != OK {
			return r, err
		}
		c.Data = c.Data[maxShortData:]
	}
	r, err := once(t, c)
	if err != nil {
		return Response{}, err
	}
	if r.Status>>8 == 0x6C { // wrong Le: the card says which it wants
		c.Ne = expected(r.Status)
		if r, err = once(t, c); err != nil {
			return Response{}, err
		}
	}
	return collect(t, c.Class, r)
}

// collect fetches the rest of an answer.
func collect(t Transport, class byte, r Response) (Response, error) {
	whole := r.Data
	for rounds := 0; r.Status>>8 == 0x61; rounds++ {
		if rounds == maxRounds || len(whole) > maxAnswer {
			return Response{}, fmt.Errorf("%w: %d bytes in %d pieces", ErrEndless, len(whole), rounds+1)
		}
		var err error
		r, err = once(t, Command{Class: class, Ins: 0xC0, Ne: expected(r.Status)})
		if err != nil {
			return Response{}, err
		}
		whole = append(whole, r.Data...)
	}
	if len(whole) > maxAnswer {
		return Response{}, fmt.Errorf("%w: %d bytes", ErrEndless, len(whole))
	}
	return Response{whole, r.Status}, nil
}

// expected is the length in 61xx or 6Cxx; 00 stands for 256.
func expected(s Status) int {
	if n := int(s & 0xFF); n > 0 {
		return n
	}
	return maxShortNe
}

func once(t Transport, c Command) (Response, error) {
	raw, err := c.Encode()
	if err != nil {
		return Response{}, err
	}
	answer, err := t.Transmit(raw)
	clear(raw)
	if err != nil {
		return Response{}, err
	}
	return Parse(answer)
}
