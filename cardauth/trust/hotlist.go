package trust

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// A Hotlist names cards to end at once, whoever issued them: cloud ops sign it,
// and it needs no authority's list. It holds until the next one.
type Hotlist struct {
	Raw    []byte
	Serial int64
	Issued time.Time

	keys    map[string]bool // SHA-256 of the public key, hex
	holders []string        // numbers in the register
}

// hotlistPrefix keeps a signature of a hotlist from being one of anything else.
const hotlistPrefix = "clinicgate hotlist v1\n"

// maxEntries bounds a hotlist.
const maxEntries = 10000

// envelope is the file: {"payload":base64,"signature":base64}, Ed25519 over the
// prefix and the payload's bytes.
type envelope struct {
	Payload   []byte `json:"payload"`
	Signature []byte `json:"signature"`
}

type payload struct {
	Serial  int64     `json:"serial"`
	Issued  time.Time `json:"issued"`
	Keys    []string  `json:"keys"`
	Holders []string  `json:"holders"`
}

// ParseHotlist reads a hotlist and checks who signed it.
func ParseHotlist(data []byte, key ed25519.PublicKey, now time.Time) (*Hotlist, error) {
	var e envelope
	if len(data) > MaxList || strict(data, &e) != nil {
		return nil, fmt.Errorf("%w: want {\"payload\":…,\"signature\":…}", ErrList)
	}
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, append([]byte(hotlistPrefix), e.Payload...), e.Signature) {
		return nil, fmt.Errorf("%w: cloud ops did not sign it", ErrList)
	}
	var p payload
	if err := strict(e.Payload, &p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrList, err)
	}
	switch {
	case p.Serial < 1:
		return nil, fmt.Errorf("%w: got serial %d, want 1 or more", ErrList, p.Serial)
	case len(p.Keys)+len(p.Holders) > maxEntries:
		return nil, fmt.Errorf("%w: got %d entries, want at most %d", ErrList, len(p.Keys)+len(p.Holders), maxEntries)
	case p.Issued.IsZero() || p.Issued.After(now.Add(maxAhead)):
		return nil, fmt.Errorf("%w: it is of %s: is the clock right?", ErrList, p.Issued.Format(time.DateOnly))
	}
	h := &Hotlist{Raw: data, Serial: p.Serial, Issued: p.Issued, keys: map[string]bool{}, holders: p.Holders}
	for _, k := range p.Keys {
		if b, err := hex.DecodeString(k); err != nil || len(b) != 32 {
			return nil, fmt.Errorf("%w: a key is no SHA-256 in hex", ErrList)
		}
		h.keys[k] = true
	}
	return h, nil
}

// strict decodes one JSON object without members we don't know.
func strict(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

// Newer says whether h may replace old.
func (h *Hotlist) Newer(old *Hotlist) error {
	if old == nil || h.Serial > old.Serial || bytes.Equal(h.Raw, old.Raw) {
		return nil
	}
	return fmt.Errorf("%w: got serial %d, have %d", ErrRollback, h.Serial, old.Serial)
}

// Names says whether a holder or the key of the card is on the list.
func (h *Hotlist) Names(holder Holder) bool {
	return h != nil && (h.keys[hex.EncodeToString(holder.Key[:])] || slices.Contains(h.holders, holder.Registration))
}

// Len is how many entries it has.
func (h *Hotlist) Len() int {
	if h == nil {
		return 0
	}
	return len(h.keys) + len(h.holders)
}
