package tunnel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"

	"clinicgate/netd/notice"
	"clinicgate/netd/steer"
	"clinicgate/netd/train"
)

// thrifty is how often a path whose bytes cost gives notice: 90 MB a month.
const thrifty = 2 * time.Second

// few bytes say nothing about loss.
const few = 20_000

// A lane is what a path and the fan at the hub tell each other.
type lane struct {
	mu    sync.Mutex
	key   notice.Key
	hub   netip.AddrPort // invalid: there is no fan
	nonce [8]byte
	seq   uint32
	last  time.Time
	sent  [32]time.Time // by the sequence's last bits; zero: answered
	had   [32]uint64    // what the path had carried then
	mark  uint64        // ... and when the last answered notice left
	got   Lane
}

// Lane is what is known of one path by the fan's answers.
type Lane struct {
	Answered  time.Time     // the last; zero: never
	RTT       time.Duration // of that
	Lost      float64       // percent of the last notices
	Missing   float64       // percent of the bytes sent between the last two answered notices
	Datagrams uint64        // that the fan has had by this path
	Bytes     uint64
}

// lead makes the lane's notices go to a hub; an invalid one has no fan.
func (l *lane) lead(hub netip.AddrPort, key notice.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hub != hub {
		l.hub, l.key, l.nonce, l.got, l.sent, l.mark = hub, key, [8]byte{}, Lane{}, [32]time.Time{}, 0
	}
}

// next returns the notice that is due now, nil: none. carried is how many bytes the
// path has sent so far.
func (l *lane) next(all bool, small int, every time.Duration, carried uint64, now time.Time) ([]byte, netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.hub.IsValid() || now.Sub(l.last) < every {
		return nil, l.hub
	}
	l.last = now
	l.seq++
	l.sent[l.seq%uint32(len(l.sent))], l.had[l.seq%uint32(len(l.sent))] = now, carried
	n := notice.Notice{Nonce: l.nonce, Seq: l.seq, All: all, Small: uint8(small)}
	return n.Marshal(l.key), l.hub
}

// answer takes in what may be an answer of the fan.
func (l *lane) answer(from netip.AddrPort, b []byte, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from != l.hub {
		return
	}
	a, err := notice.ParseAnswer(b, l.key)
	if err != nil || l.seq-a.Seq >= uint32(len(l.sent)) {
		return
	}
	at := &l.sent[a.Seq%uint32(len(l.sent))]
	if at.IsZero() {
		return
	}
	if l.nonce != a.Nonce {
		l.nonce, l.last = a.Nonce, time.Time{} // give notice with it at once
	}
	had := l.had[a.Seq%uint32(len(l.sent))]
	if sent := had - l.mark; l.mark > 0 && had > l.mark && sent > few {
		l.got.Missing = max(0, 100*(1-float64(a.Bytes-l.got.Bytes)/float64(sent)))
	} else {
		l.got.Missing = 0
	}
	l.mark = max(l.mark, had)
	l.got.Answered, l.got.RTT, l.got.Datagrams, l.got.Bytes = now, now.Sub(*at), a.Datagrams, a.Bytes
	*at = time.Time{}
	l.got.Lost = l.lost(now)
}

// lost is the share of notices without an answer, of those that one was due for.
func (l *lane) lost(now time.Time) float64 {
	due, lost := 0, 0
	for i := range uint32(min(l.seq, 24)) {
		at := l.sent[(l.seq-i)%uint32(len(l.sent))]
		switch {
		case at.IsZero():
			due++
		case now.Sub(at) > max(3*l.got.RTT, 100*time.Millisecond):
			due++
			lost++
		}
	}
	if due == 0 {
		return 0
	}
	return float64(lost) * 100 / float64(due)
}

func (l *lane) known() Lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got
}

// notify gives notice by each path that is due.
func (b *bind) notify(now time.Time) {
	way := b.way.Load()
	for i, p := range b.paths {
		all, small := wants(way, i)
		if !all && small == 0 {
			continue
		}
		every := notice.Every
		if !all && len(way.Shares) == 0 {
			every = thrifty
		}
		if msg, hub := p.lane.next(all, small, every, p.sent.Load(), now); msg != nil {
			m := b.out.Get().(*train.Batch)
			_ = p.send(m, [][]byte{msg}, net.UDPAddrFromAddrPort(hub)) // as if lost
			b.out.Put(m)
		}
	}
}

// wants is what path i should bring: what it takes along. What is dealt out comes
// back by one path, small datagrams by all.
func wants(way *steer.Way, i int) (all bool, small int) {
	for _, j := range way.All {
		if j == i {
			all = len(way.Shares) == 0
			small++
		}
	}
	for _, j := range way.Small {
		if j == i {
			small++
		}
	}
	return all, small
}

// Notify gives the fan at the hub, if there is one, notice of the paths in use. Call
// it several times per notice.Every.
func (t *Tunnel) Notify(now time.Time) { t.bind.notify(now) }

// Lane returns what the fan has told of path i.
func (t *Tunnel) Lane(i int) Lane { return t.bind.paths[i].lane.known() }

// lead makes the notices go to the hub in use.
func (t *Tunnel) lead() {
	h := t.cfg.Hubs[t.hub]
	for _, p := range t.bind.paths {
		if !h.Fan {
			p.lane.lead(netip.AddrPort{}, notice.Key{})
			continue
		}
		key, err := notice.NewKey(t.keys.Private, h.PeerKey)
		if err != nil {
			continue // a key of zeros, which the site file can't have
		}
		p.lane.lead(h.Endpoint, key)
	}
}

// isAnswer tells an answer from WireGuard's messages by its first bytes.
func isAnswer(b []byte) bool {
	return len(b) > 4 && binary.LittleEndian.Uint32(b) > 4 && notice.IsAnswer(b)
}
