// Package tunnel is one WireGuard session to the hub, carried over all uplinks.
// The hub is any stock WireGuard: it follows the last authenticated datagram, so
// the session moves to another uplink with the next packet and no handshake, and
// its replay window drops copies that came by another one. By which uplinks a
// datagram leaves is netd/steer's judgement.
package tunnel

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"clinicgate/netd/config"
	"clinicgate/netd/plan"
	"clinicgate/netd/steer"

	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
)

// Tunnel is a running session. Its methods may be called from one goroutine at a
// time; packets flow by themselves.
type Tunnel struct {
	cfg  config.Tunnel
	bind *bind
	dev  *device.Device

	mu     sync.Mutex
	way    steer.Way
	proven bool // the way was when it was last named
	called time.Time
}

// Open makes the TUN device, needing /dev/net/tun and CAP_NET_ADMIN, and the
// session behind it. Setting the device up, its address and its routes is
// netd/apply's work; the hub is called once Use has named an uplink. key is our
// private key, paths are the uplinks.
func Open(cfg config.Tunnel, key [32]byte, paths []Path, log *slog.Logger) (*Tunnel, error) {
	nic, err := tun.CreateTUN(cfg.Device, plan.TunnelMTU)
	if err != nil {
		return nil, fmt.Errorf("make device %s: %w", cfg.Device, err)
	}
	log = log.With("tunnel", cfg.Name)
	say := func(format string, args ...any) { log.Debug(fmt.Sprintf(format, args...)) }
	t := &Tunnel{cfg: cfg, bind: newBind(paths)}
	t.dev = device.NewDevice(nic, t.bind, &device.Logger{Verbosef: say, Errorf: say})
	if err := t.dev.IpcSet("private_key=" + hex.EncodeToString(key[:]) + "\n"); err != nil {
		t.Close()
		return nil, fmt.Errorf("set up tunnel %s: %w", cfg.Name, err)
	}
	return t, nil
}

// Close ends the session and removes the device.
func (t *Tunnel) Close() { t.dev.Close() }

// Refresh tells that uplink i's port has this interface index now; 0: it is gone.
func (t *Tunnel) Refresh(i, index int) error { return t.bind.paths[i].refresh(index) }

const (
	// lifetime is how long a session key is good (WireGuard's REJECT_AFTER_TIME).
	lifetime = 180 * time.Second
	// callGap keeps two calls apart. A hub drops one that follows within 20 ms as a
	// flood, or within 17 ms as a replay, and the next would be five seconds later.
	callGap = 250 * time.Millisecond
)

// Use sends by way from now on; proven says that it is known to work. The hub
// learns of it at once by a keepalive; without a live session it is called anew,
// not waiting for the retry of a call that went another way, or this one before it
// was proven. While such a call is on its way it does nothing: state what you want
// until it is so.
func (t *Tunnel) Use(way steer.Way, proven bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if way.Equal(t.way) && (!proven || t.proven) {
		t.proven = proven
		t.bind.way.Store(&way) // the shares may have changed
		return nil
	}
	st, err := t.status()
	if err != nil {
		return err
	}
	peer := t.dev.LookupPeer(t.cfg.PeerKey)
	live := peer != nil && time.Since(st.Handshake) < lifetime
	if !live && time.Since(t.called) < callGap {
		return nil
	}
	t.way, t.proven = way, proven
	t.bind.way.Store(&way)
	if live {
		peer.SendKeepalive()
		return nil
	}
	t.called = time.Now()
	return t.call()
}

// Renew calls the hub anew though the session seems to live.
func (t *Tunnel) Renew() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.called = time.Now()
	return t.call()
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

// call puts the peer in afresh, which begins with a handshake.
func (t *Tunnel) call() error {
	var b strings.Builder
	key := hex.EncodeToString(t.cfg.PeerKey[:])
	fmt.Fprintf(&b, "public_key=%s\nremove=true\n", key)
	fmt.Fprintf(&b, "public_key=%s\nendpoint=%s\n", key, t.cfg.Endpoint)
	fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", t.cfg.Keepalive/time.Second)
	for _, p := range t.cfg.Routes {
		fmt.Fprintf(&b, "allowed_ip=%s\n", p)
	}
	if err := t.dev.IpcSet(b.String()); err != nil {
		return fmt.Errorf("set up peer of tunnel %s: %w", t.cfg.Name, err)
	}
	return nil
}

// Status is what the session says of itself.
type Status struct {
	Handshake time.Time // the last; zero: none yet
	Endpoint  string    // where the hub was heard from last
	Rx, Tx    uint64    // bytes
}

// Status returns the session's state.
func (t *Tunnel) Status() (Status, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.status()
}

func (t *Tunnel) status() (Status, error) {
	text, err := t.dev.IpcGet()
	if err != nil {
		return Status{}, fmt.Errorf("ask tunnel %s: %w", t.cfg.Name, err)
	}
	return parseStatus(text), nil
}

// parseStatus reads the peer's part of WireGuard's configuration protocol.
func parseStatus(text string) Status {
	st := Status{}
	var sec, nsec int64
	for line := range strings.SplitSeq(text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		n, _ := strconv.ParseUint(value, 10, 63)
		switch key {
		case "endpoint":
			st.Endpoint = value
		case "last_handshake_time_sec":
			sec = int64(n)
		case "last_handshake_time_nsec":
			nsec = int64(n)
		case "rx_bytes":
			st.Rx = n
		case "tx_bytes":
			st.Tx = n
		}
	}
	if sec != 0 {
		st.Handshake = time.Unix(sec, nsec)
	}
	return st
}

// ReadKey reads a WireGuard private key: 32 bytes in base64, as `wg genkey` writes.
func ReadKey(path string) (key [32]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return key, fmt.Errorf("read tunnel key: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return key, fmt.Errorf("read tunnel key: %w", err)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(raw) != len(key) {
		return key, errors.New("read tunnel key: " + path + ": want 44 characters of base64, as wg genkey writes them")
	}
	return [32]byte(raw), nil
}
