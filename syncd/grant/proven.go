package grant

import "sync"

// maxProven bounds the tokens that are remembered.
const maxProven = 256

// proven remembers the tokens whose signature holds, so that a program that reads
// much is not made to wait for the same arithmetic each time. It lives as long as one
// publication of cardauth's, and so do the keys it was checked with; times, session
// and device are judged anew every time. Its claims are only read.
type proven struct {
	mu     sync.Mutex
	tokens map[string]*claims
}

func (p *proven) get(token string) *claims {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tokens[token]
}

func (p *proven) put(token string, c *claims) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tokens == nil || len(p.tokens) >= maxProven {
		p.tokens = map[string]*claims{}
	}
	p.tokens[token] = c
}
