// Package cache remembers DNS answers: while they are fresh, and after their time
// for when nobody can be asked (RFC 8767). It guarantees that an answer never
// lives longer than its zone allowed without being marked stale, and that what it
// keeps is bounded in number and bytes.
package cache

import (
	"container/list"
	"time"

	"github.com/miekg/dns"
)

// Key is what an answer answers. DNSSEC records are kept apart from answers
// without them.
type Key struct {
	Name string // lower case, with the dot at its end
	Type uint16
	DO   bool // with DNSSEC records (RFC 4035 §3.2.1)
	CD   bool // not checked by whoever was asked
}

// State is how good an answer is.
type State int

// States of an answer.
const (
	None State = iota
	Fresh
	Stale
)

// Bounds of what a zone may say of its answers' time.
const (
	maxTTL      = 24 * time.Hour
	maxNegative = 3 * time.Hour // RFC 2308 §5
	StaleTTL    = 30            // seconds, RFC 8767 §4
)

// entry is one answer as it came, in wire form.
type entry struct {
	key    Key
	wire   []byte
	stored time.Time
	expiry time.Time
}

// overhead is what an entry costs beside its bytes.
const overhead = 250

func (e *entry) size() int { return len(e.wire) + 2*len(e.key.Name) + overhead }

// Cache holds the answers. It is not safe for concurrent use.
type Cache struct {
	names, bytes int           // at most
	maxStale     time.Duration // after the expiry
	entries      map[Key]*list.Element
	used         *list.List // latest first
	held         int        // bytes
	Changes      int        // since the start
}

// New returns an empty cache for so many names and bytes.
func New(names, bytes int, maxStale time.Duration) *Cache {
	return &Cache{names: names, bytes: bytes, maxStale: maxStale, entries: map[Key]*list.Element{}, used: list.New()}
}

// Size returns how many answers and bytes are held.
func (c *Cache) Size() (names, bytes int) { return len(c.entries), c.held }

// Put remembers an answer, if its kind may be remembered. What it had for the key
// stays otherwise: a failure is no better than an old answer.
func (c *Cache) Put(k Key, m *dns.Msg, now time.Time) {
	ttl := life(m)
	if ttl <= 0 {
		return
	}
	wire, err := m.Pack()
	if err != nil {
		return
	}
	c.put(&entry{key: k, wire: wire, stored: now, expiry: now.Add(ttl)})
}

func (c *Cache) put(e *entry) {
	if e.size() > c.bytes/4 {
		return
	}
	if old, ok := c.entries[e.key]; ok {
		c.drop(old)
	}
	c.entries[e.key] = c.used.PushFront(e)
	c.held += e.size()
	c.Changes++
	for len(c.entries) > c.names || c.held > c.bytes {
		c.drop(c.used.Back())
	}
}

func (c *Cache) drop(at *list.Element) {
	e := c.used.Remove(at).(*entry)
	delete(c.entries, e.key)
	c.held -= e.size()
}

// Get returns the answer for a key with the time it has left, or with RFC 8767's
// when it is stale. The caller owns it.
func (c *Cache) Get(k Key, now time.Time) (*dns.Msg, State) {
	at, ok := c.entries[k]
	if !ok {
		return nil, None
	}
	e := at.Value.(*entry)
	if now.After(e.expiry.Add(c.maxStale)) {
		c.drop(at)
		return nil, None
	}
	m := new(dns.Msg)
	if err := m.Unpack(e.wire); err != nil {
		c.drop(at)
		return nil, None
	}
	c.used.MoveToFront(at)
	if now.Before(e.expiry) {
		lower(m, max(now.Sub(e.stored), 0))
		return m, Fresh
	}
	each(m, func(h *dns.RR_Header) { h.Ttl = StaleTTL })
	return m, Stale
}

// each visits the records that have a time to live.
func each(m *dns.Msg, f func(*dns.RR_Header)) {
	for _, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				f(h)
			}
		}
	}
}

func lower(m *dns.Msg, age time.Duration) {
	passed := uint32(age / time.Second)
	each(m, func(h *dns.RR_Header) { h.Ttl = min(h.Ttl-min(h.Ttl, passed), uint32(maxTTL/time.Second)) })
}

// life is how long an answer may be used; 0: not at all.
func life(m *dns.Msg) time.Duration {
	if m.Truncated || (m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError) {
		return 0
	}
	if negative(m) {
		return negativeLife(m)
	}
	ttl := uint32(maxTTL / time.Second)
	each(m, func(h *dns.RR_Header) { ttl = min(ttl, h.Ttl) })
	return time.Duration(ttl) * time.Second
}

// negative: there is no such name, or nothing of the type (RFC 2308 §2).
func negative(m *dns.Msg) bool {
	if m.Rcode == dns.RcodeNameError {
		return true
	}
	for _, rr := range m.Answer {
		if t := rr.Header().Rrtype; t != dns.TypeCNAME && t != dns.TypeDNAME && t != dns.TypeRRSIG {
			return false
		}
	}
	return len(m.Question) == 0 || m.Question[0].Qtype != dns.TypeCNAME || len(m.Answer) == 0
}

// negativeLife is what the zone's SOA says (RFC 2308 §5). Without one the answer
// may not be remembered.
func negativeLife(m *dns.Msg) time.Duration {
	ttl := uint32(0)
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			ttl = min(soa.Hdr.Ttl, soa.Minttl, uint32(maxNegative/time.Second))
		}
	}
	if ttl > 0 { // a CNAME on the way may live shorter
		each(m, func(h *dns.RR_Header) { ttl = min(ttl, h.Ttl) })
	}
	return time.Duration(ttl) * time.Second
}
