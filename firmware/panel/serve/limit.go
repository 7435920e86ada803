package serve

import (
	"net/netip"
	"sync"
	"time"
)

// What one computer of the clinic may ask: a page is five requests, an event stream
// one. A NAT in front of many would share it; the clinic's LAN has none.
const (
	burst      = 60
	perSecond  = 10
	maxBuckets = 4096
	maxStreams = 64
	ofOne      = 8 // streams of one computer
)

// limit holds computers to what they may ask. The zero value is ready.
type limit struct {
	mu      sync.Mutex
	buckets map[netip.Prefix]bucket
	streams map[netip.Prefix]int
	open    int
}

// bucket is what a computer has left, at a time.
type bucket struct {
	left float64
	at   time.Time
}

// who is the computer of an address; with IPv6 one has a whole /64.
func who(remote string) netip.Prefix {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr, bits := from.Addr().Unmap(), 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.WithZone("").Prefix(bits) // both lengths fit
	return p
}

// take allows a request, or not.
func (l *limit) take(who netip.Prefix, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buckets == nil || len(l.buckets) >= maxBuckets {
		l.tidy(now)
	}
	b, known := l.buckets[who]
	if !known {
		b = bucket{burst, now}
	}
	b.left, b.at = min(burst, b.left+max(0, now.Sub(b.at).Seconds())*perSecond), now
	ok := b.left >= 1
	if ok {
		b.left--
	}
	l.buckets[who] = b
	return ok
}

// tidy forgets who would have a full bucket again; if that is nobody, everybody:
// then thousands ask at once, and memory counts more.
func (l *limit) tidy(now time.Time) {
	kept := map[netip.Prefix]bucket{}
	for who, b := range l.buckets {
		if b.left+now.Sub(b.at).Seconds()*perSecond < burst {
			kept[who] = b
		}
	}
	if len(kept) >= maxBuckets {
		kept = map[netip.Prefix]bucket{}
	}
	l.buckets = kept
}

// stream lets an event stream begin; end ends it.
func (l *limit) stream(who netip.Prefix) (end func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= maxStreams || l.streams[who] >= ofOne {
		return nil, false
	}
	if l.streams == nil {
		l.streams = map[netip.Prefix]int{}
	}
	l.open++
	l.streams[who]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open--
		if l.streams[who]--; l.streams[who] == 0 {
			delete(l.streams, who)
		}
	}, true
}

// Open is the number of event streams.
func (l *limit) Open() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open
}
