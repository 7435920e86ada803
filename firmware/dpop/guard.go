package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"sync"
	"time"
)

// How long a nonce is taken, and how often a new one is handed out.
const (
	nonceLife = 5 * time.Minute
	nonceStep = time.Minute
)

// maxSeen bounds how many proofs are remembered; at more nobody gets in until some
// are too old.
const maxSeen = 20000

// A Guard sees that a proof is fresh, by a nonce of ours, and used once. Its
// memory dies with it, and so do its nonces: what was used before a restart is
// worth nothing after it. Safe for concurrent use.
type Guard struct {
	key [32]byte

	mu   sync.Mutex
	seen map[string]time.Time // key and jti → until when it must be remembered
}

// NewGuard returns a guard whose nonces are made with a random key.
func NewGuard(key [32]byte) *Guard { return &Guard{key: key, seen: map[string]time.Time{}} }

// Nonce is the one to hand out now. It says when it was made, sealed.
func (g *Guard) Nonce(now time.Time) string {
	stamp := binary.BigEndian.AppendUint64(nil, uint64(now.Unix()/int64(nonceStep/time.Second)))
	return base64.RawURLEncoding.EncodeToString(append(stamp, g.seal(stamp)...))
}

func (g *Guard) seal(stamp []byte) []byte {
	h := hmac.New(sha256.New, g.key[:])
	h.Write(stamp)
	return h.Sum(nil)[:16]
}

// fresh says whether a nonce is ours and not too old.
func (g *Guard) fresh(nonce string, now time.Time) bool {
	raw, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(raw) != 24 || !hmac.Equal(g.seal(raw[:8]), raw[8:]) {
		return false
	}
	made := time.Unix(int64(binary.BigEndian.Uint64(raw))*int64(nonceStep/time.Second), 0)
	return !made.After(now) && now.Sub(made) < nonceLife
}

// Use takes a proof that has been read, once.
func (g *Guard) Use(p Proof, now time.Time) error {
	if !g.fresh(p.Nonce, now) {
		return ErrNonce
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.seen) >= maxSeen {
		for id, until := range g.seen {
			if now.After(until) {
				delete(g.seen, id)
			}
		}
	}
	id := p.Key + " " + p.ID
	if _, used := g.seen[id]; used || len(g.seen) >= maxSeen {
		return ErrReplay
	}
	g.seen[id] = p.Until
	return nil
}
