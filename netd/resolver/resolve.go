package resolver

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"clinicgate/netd/resolver/cache"
	"clinicgate/netd/resolver/upstream"

	"github.com/miekg/dns"
)

// Times of a question.
const (
	stalePatience = 1800 * time.Millisecond // then an old answer will do (RFC 8767 §5)
	patience      = 4500 * time.Millisecond // less than a device's own
	failedFor     = 5 * time.Second         // not asked again after nobody answered (RFC 9520 §3.2)
	hedgeLeast    = 60 * time.Millisecond
	hedgeMost     = 400 * time.Millisecond // before another is asked beside the first
	maxAttempts   = 4
	maxFlights    = 256
	maxFailures   = 1024
)

// A flight is a question that others are being asked. Everybody who wants to know
// the same waits for the same answer.
type flight struct {
	done  chan struct{}
	reply reply // after done
}

// reply is what a device is told: a message, and why it is not better.
type reply struct {
	m    *dns.Msg
	code uint16 // RFC 8914; none when text is empty
	text string
}

func failure(code uint16, text string) reply {
	return reply{m: &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Rcode: dns.RcodeServerFailure}}, code: code, text: text}
}

func refusal(code uint16, text string) reply {
	return reply{m: &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Rcode: dns.RcodeRefused}}, code: code, text: text}
}

func old(m *dns.Msg) reply {
	code := dns.ExtendedErrorCodeStaleAnswer
	if m.Rcode == dns.RcodeNameError {
		code = dns.ExtendedErrorCodeStaleNXDOMAINAnswer
	}
	return reply{m: m, code: code, text: "no name server answers"}
}

// resolve answers from the cache, from others, or from the cache again.
func (s *Server) resolve(ctx context.Context, q question) reply {
	key := cache.Key{Name: q.name, Type: q.kind, DO: q.do, CD: q.cd}
	s.mu.Lock()
	now := s.now()
	m, state := s.cache.Get(key, now)
	if state == cache.Fresh {
		s.count.hits++
		s.mu.Unlock()
		return reply{m: m}
	}
	f, why := s.fly(key, q, now)
	s.mu.Unlock()
	if f == nil {
		if state == cache.Stale {
			s.noteStale()
			return old(m)
		}
		return why
	}
	wait := patience
	if state == cache.Stale {
		wait = stalePatience
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-f.done:
		if f.reply.m.Rcode != dns.RcodeServerFailure || state != cache.Stale {
			return reply{f.reply.m.Copy(), f.reply.code, f.reply.text}
		}
	case <-timer.C:
	case <-ctx.Done():
	}
	if state == cache.Stale {
		s.noteStale()
		return old(m)
	}
	return failure(dns.ExtendedErrorCodeNoReachableAuthority, "no name server answers")
}

func (s *Server) noteStale() {
	s.mu.Lock()
	s.count.stale++
	s.staleAt = s.now()
	s.mu.Unlock()
}

// fly returns the flight for a question, a new one if need be; nil and the reason
// when nobody is asked now. The lock is held.
func (s *Server) fly(key cache.Key, q question, now time.Time) (*flight, reply) {
	if f := s.flights[key]; f != nil {
		return f, reply{}
	}
	if until, failed := s.failed[key]; failed && now.Before(until) {
		return nil, failure(dns.ExtendedErrorCodeCachedError, "no name server answered a moment ago")
	}
	servers := s.servers(q.name)
	s.count.asked++
	switch {
	case len(servers) == 0 && s.usable():
		s.lacking = now
		return nil, failure(dns.ExtendedErrorCodeNetworkError, "no name server is known")
	case len(servers) == 0:
		return nil, failure(dns.ExtendedErrorCodeNetworkError, "no internet provider can be used")
	case len(s.flights) >= maxFlights || s.ctx.Err() != nil:
		return nil, failure(dns.ExtendedErrorCodeOther, "too many questions")
	}
	f := &flight{done: make(chan struct{})}
	s.flights[key] = f
	order := s.records.Order(servers, now)
	s.hands.Go(func() {
		r := s.fetch(q, order)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.land(key, r)
		f.reply = r
		delete(s.flights, key)
		close(f.done)
	})
	return f, reply{}
}

// land remembers how a flight ended. The lock is held.
func (s *Server) land(key cache.Key, r reply) {
	now := s.now()
	switch r.m.Rcode {
	case dns.RcodeServerFailure:
		if len(s.failed) >= maxFailures {
			clear(s.failed)
		}
		s.failed[key] = now.Add(failedFor)
		s.silent = now
	case dns.RcodeRefused:
	default:
		delete(s.failed, key)
		s.cache.Put(key, r.m, now)
		s.silent = time.Time{}
	}
}

// servers are those to ask for a name: its zone's, or all. The lock is held.
func (s *Server) servers(name string) []upstream.Server {
	best := -1
	for i, z := range s.cfg.DNS.Zones {
		if dns.IsSubDomain(z.Name+".", name) && (best < 0 || len(z.Name) > len(s.cfg.DNS.Zones[best].Name)) {
			best = i
		}
	}
	if best >= 0 {
		return upstream.List(s.cfg.DNS.Zones[best].Servers, s.near, withoutServers(s.ways), s.active)
	}
	return upstream.List(s.cfg.DNS.Upstream, s.near, s.ways, s.active)
}

func withoutServers(ways []upstream.Way) []upstream.Way {
	out := slices.Clone(ways)
	for i := range out {
		out[i].Servers = nil
	}
	return out
}

// near reports whether an address is reached by the routing table alone: it is
// behind a tunnel or in one of the clinic's networks.
func (s *Server) near(a netip.Addr) bool {
	in := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(s.inner, in)
}

// usable reports whether any uplink is. The lock is held.
func (s *Server) usable() bool {
	return slices.ContainsFunc(s.ways, func(w upstream.Way) bool { return w.Usable })
}

// fetch asks the servers in turn, the next one when the one before fails or takes
// long, and takes the first useful answer.
func (s *Server) fetch(q question, order []upstream.Server) reply {
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	order = order[:min(len(order), maxAttempts)]
	if len(order) == 1 {
		order = append(order, order[0]) // a datagram may be lost
	}
	results := make(chan *dns.Msg, len(order))
	started, ended := 0, 0
	next := func() {
		to := order[started]
		started++
		s.hands.Go(func() { results <- s.attempt(ctx, to, q) })
	}
	next()
	for ended < started {
		var hedge <-chan time.Time
		if started < len(order) {
			hedge = time.After(s.hedge(order[started-1]))
		}
		select {
		case m := <-results:
			ended++
			if m != nil {
				return s.judge(q, clean(m, q.name))
			}
			if started < len(order) {
				next()
			}
		case <-hedge:
			next()
		}
	}
	return failure(dns.ExtendedErrorCodeNoReachableAuthority, "no name server answers")
}

// hedge is how long a server is waited for alone.
func (s *Server) hedge(to upstream.Server) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rtt := s.records.RTT(to); rtt > 0 {
		return min(max(2*rtt, hedgeLeast), hedgeMost)
	}
	return hedgeMost
}

// attempt asks one server; nil: no useful answer.
func (s *Server) attempt(ctx context.Context, to upstream.Server, q question) *dns.Msg {
	start := time.Now()
	m, err := s.ask(ctx, to, q)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil && useful(m):
		s.records.Answered(to, time.Since(start))
		return m
	case errors.Is(ctx.Err(), context.Canceled):
		return nil // another was faster: that says nothing about this one
	}
	s.records.Failed(to, s.now())
	s.log.Debug("name server", "server", to.Addr, "way", to.Way, "name", q.name, "err", err)
	return nil
}

// judge refuses an answer that leads into the clinic.
func (s *Server) judge(q question, m *dns.Msg) reply {
	if a, inward := s.names.Inward(q.name, m); inward {
		s.mu.Lock()
		s.count.rebinds++
		s.mu.Unlock()
		s.log.Debug("answer refused", "name", strings.TrimSuffix(q.name, "."), "address", a, "why", "a public name with an address inside; see net.dns.private")
		return refusal(dns.ExtendedErrorCodeBlocked, "a public name with a private address")
	}
	return reply{m: m}
}
