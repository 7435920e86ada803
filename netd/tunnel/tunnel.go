// Package tunnel is one WireGuard interface whose session with a hub is carried over
// all uplinks. The hub is any stock WireGuard: it follows the last authenticated
// datagram, so the session moves to another uplink with the next packet and no
// handshake, and its replay window drops copies that came by another one. By which
// uplinks a datagram leaves is netd/steer's judgement, and with which of several
// hubs netd/hubs's.
package tunnel

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"clinicgate/netd/config"
	"clinicgate/netd/steer"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// Tunnel is a running interface. Its methods may be called from one goroutine at a
// time; packets flow by themselves.
type Tunnel struct {
	cfg  config.Tunnel
	keys Keys
	bind *bind
	dev  *device.Device

	mu     sync.Mutex
	way    steer.Way
	proven bool // the way was when it was last named
	hub    int  // that the routes lead to
	calls  []call
}

// A call is a handshake that was begun.
type call struct {
	at    time.Time
	tries int // without an answer
}

// Keys are the secrets of a tunnel.
type Keys struct {
	Private   [32]byte
	Preshared [][32]byte // by hub; zero: none
}

// Open makes the TUN device, needing /dev/net/tun and CAP_NET_ADMIN, and the
// sessions behind it. Setting the device up, its address and its routes is
// netd/apply's work; a hub is called once Use has named an uplink. paths are the
// uplinks.
func Open(cfg config.Tunnel, keys Keys, paths []Path, log *slog.Logger) (*Tunnel, error) {
	nic, err := tun.CreateTUN(cfg.Device, config.MaxTunnelMTU)
	if err != nil {
		return nil, fmt.Errorf("make device %s: %w", cfg.Device, err)
	}
	log = log.With("tunnel", cfg.Name)
	say := func(format string, args ...any) { log.Debug(fmt.Sprintf(format, args...)) }
	t := &Tunnel{cfg: cfg, keys: keys, bind: newBind(paths), calls: make([]call, len(cfg.Hubs))}
	for _, h := range cfg.Hubs {
		t.bind.calls.know(h.Endpoint, h.PeerKey)
	}
	t.lead()
	t.dev = device.NewDevice(nic, t.bind, &device.Logger{Verbosef: say, Errorf: say})
	err = errors.Join(t.dev.IpcSet("private_key="+hexKey(keys.Private)+"\n"), t.dev.Up())
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("set up tunnel %s: %w", cfg.Name, err)
	}
	return t, nil
}

// Close ends the sessions and removes the device.
func (t *Tunnel) Close() { t.dev.Close() }

// Refresh tells that uplink i's port has this interface index now; 0: it is gone.
func (t *Tunnel) Refresh(i, index int) error { return t.bind.paths[i].refresh(index) }

const (
	// lifetime is how long a session key is good (WireGuard's REJECT_AFTER_TIME).
	lifetime = 180 * time.Second
	// callGap keeps two calls apart. A hub drops one that follows within 20 ms as a
	// flood, or within 17 ms as a replay. A call forgets the one before, so the gap
	// doubles until an answer has the time to come, however slow the uplink is.
	callGap   = 250 * time.Millisecond
	unsentGap = 50 * time.Millisecond // after a call that no path took
	maxGap    = 4 * time.Second       // WireGuard itself calls every five seconds
)

// gap is how long to wait for the answer before the next call.
func (c call) gap() time.Duration { return min(callGap<<min(c.tries, 8), maxGap) }

// Use sends by way from now on; proven says that it is known to work. The hub
// learns of it at once by a keepalive; without a live session it is called anew,
// not waiting for the retry of a call that went another way, or this one before it
// was proven. State what you want again and again: a call that stays unanswered is
// repeated here.
func (t *Tunnel) Use(way steer.Way, proven bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	same := way.Equal(t.way) && (!proven || t.proven)
	c := t.calls[t.hub]
	if same && c.tries == 0 {
		t.proven = proven
		t.bind.way.Store(&way) // the shares may have changed
		return nil
	}
	st, err := t.status()
	if err != nil {
		return err
	}
	live := t.live(st, t.hub, now)
	gap := c.gap()
	switch {
	case t.Sent().Before(c.at):
		gap = unsentGap
	case !same:
		gap = callGap
	}
	if !live && now.Sub(c.at) < gap {
		return nil
	}
	t.way, t.proven = way, proven
	t.bind.way.Store(&way)
	if !live {
		return t.call(t.hub, now)
	}
	t.calls[t.hub].tries = 0
	if !same {
		t.keepalive(t.hub)
	}
	return nil
}

// live reports whether there is a session with hub i that can carry data.
func (t *Tunnel) live(st []Status, i int, now time.Time) bool {
	h := st[i].Handshake
	return !h.IsZero() && now.Sub(h) < lifetime && !t.calls[i].at.After(h)
}

func (t *Tunnel) keepalive(i int) {
	if peer := t.dev.LookupPeer(t.cfg.Hubs[i].PeerKey); peer != nil {
		peer.SendKeepalive()
	}
}

// Switch leads the routes to hub i. If there is a session with it, the next packet
// goes there; else it is called.
func (t *Tunnel) Switch(i int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hub = i
	t.lead()
	now := time.Now()
	st, err := t.status()
	if err != nil {
		return err
	}
	if t.dev.LookupPeer(t.cfg.Hubs[i].PeerKey) != nil {
		if err := t.set(i, t.routes()); err != nil {
			return err
		}
	}
	if t.live(st, i, now) {
		t.keepalive(i)
		return nil
	}
	t.calls[i].tries = 0
	return t.call(i, now)
}

// Call begins a new session with hub i, as if there were none: it may have been
// restarted and know nothing of the one before. What is under way by the old one
// still comes in.
func (t *Tunnel) Call(i int) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[i].tries = 0
	return t.call(i, time.Now())
}

func (t *Tunnel) call(i int, now time.Time) error {
	t.calls[i].at = now
	t.calls[i].tries++
	hub := t.cfg.Hubs[i]
	if peer := t.dev.LookupPeer(hub.PeerKey); peer != nil {
		if err := t.set(i, fmt.Sprintf("endpoint=%s\n", hub.Endpoint)); err != nil {
			return err
		}
		peer.ExpireCurrentKeypairs()
		_ = peer.SendHandshakeInitiation(false) // no path: the next call
		return nil
	}
	return t.add(i) // which begins with a handshake
}

// Received is how many datagrams came in so far.
func (t *Tunnel) Received() uint64 {
	var n uint64
	for _, p := range t.bind.paths {
		n += p.count.Load()
	}
	return n
}

// Carried is how many bytes were sent by uplink i so far.
func (t *Tunnel) Carried(i int) uint64 { return t.bind.paths[i].sent.Load() }

// Traffic is what a path carried so far.
type Traffic struct {
	Datagrams uint64 // sent
	Tx, Rx    uint64 // bytes
}

// Traffic returns what path i carried.
func (t *Tunnel) Traffic(i int) Traffic {
	p := t.bind.paths[i]
	return Traffic{p.many.Load(), p.sent.Load(), p.got.Load()}
}

// Way is the one that is taken.
func (t *Tunnel) Way() steer.Way { return *t.bind.way.Load() }

// Ahead is how long path i is busy with what it was dealt, by the books of netd/steer.
func (t *Tunnel) Ahead(i int) time.Duration {
	t.bind.dealing.Lock()
	defer t.bind.dealing.Unlock()
	return t.bind.dealer.Ahead(i, time.Now())
}

// Correct tells the books that path i was busy for so much longer than they said.
func (t *Tunnel) Correct(i int, longer time.Duration) {
	t.bind.dealing.Lock()
	defer t.bind.dealing.Unlock()
	t.bind.dealer.Correct(i, longer, time.Now())
}

// Heard returns when the hub was last heard through uplink i; zero: never. Only
// its datagrams count that were a port's; whether they are authentic is not looked
// at, so this may steer but must not prove.
func (t *Tunnel) Heard(i int) time.Time { return when(t.bind.paths[i].heard.Load()) }

// Sent returns when something was last sent to the hub; zero: never.
func (t *Tunnel) Sent() time.Time { return when(t.bind.sent.Load()) }

func when(nano int64) time.Time {
	if nano == 0 {
		return time.Time{}
	}
	return time.Unix(0, nano)
}

// Status returns the state of the session with each hub.
func (t *Tunnel) Status() ([]Status, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status()
}
