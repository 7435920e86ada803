package tunnel

import (
	"net/netip"
	"sync"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.zx2c4.com/wireguard/device"
)

// A hub under load answers a call with a cookie and takes the next only with the
// cookie in it, which is good for the address that it was sent to. A call of ours
// comes from several addresses, so each copy carries the cookie of its own path:
// else only one of them would be let in, and perhaps the one that doesn't arrive.
// The cookies outlive a call that is begun afresh.

// Places in a handshake initiation (WireGuard's whitepaper, 5.4.2 and 5.4.4).
const (
	typeCall   = device.MessageInitiationType
	typeCookie = device.MessageCookieReplyType
	callSize   = device.MessageInitiationSize
	cookieSize = device.MessageCookieReplySize
	mac2At     = callSize - 16
	mac1At     = mac2At - 16
)

// calls knows the last call to each hub and the key that its cookies are sealed
// with. It is safe for concurrent use.
type calls struct {
	mu   sync.Mutex
	keys map[netip.AddrPort][32]byte
	mac1 map[netip.AddrPort][16]byte
	once once // handshakes that came in
}

func newCalls() *calls {
	return &calls{keys: map[netip.AddrPort][32]byte{}, mac1: map[netip.AddrPort][16]byte{}}
}

// know adds a hub.
func (c *calls) know(at netip.AddrPort, key [32]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keys[at] = blake2s.Sum256(append([]byte(device.WGLabelCookie), key[:]...))
}

// note remembers the call that is about to be sent.
func (c *calls) note(to netip.AddrPort, msg []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.keys[to]; known {
		c.mac1[to] = [16]byte(msg[mac1At:mac2At])
	}
}

// open returns the cookie in a reply to the last call, if it is one.
func (c *calls) open(from netip.AddrPort, reply []byte) (cookie [16]byte, ok bool) {
	c.mu.Lock()
	key, known := c.keys[from]
	mac1 := c.mac1[from]
	c.mu.Unlock()
	if !known || len(reply) != cookieSize || reply[0] != typeCookie {
		return cookie, false
	}
	box, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return cookie, false
	}
	nonce, sealed := reply[8:8+chacha20poly1305.NonceSizeX], reply[8+chacha20poly1305.NonceSizeX:]
	plain, err := box.Open(nil, nonce, sealed, mac1[:])
	if err != nil || len(plain) != len(cookie) {
		return cookie, false
	}
	return [16]byte(plain), true
}

// A jar holds the cookies that came by one path.
type jar struct {
	mu      sync.Mutex
	cookies map[netip.AddrPort]cookie
}

type cookie struct {
	value [16]byte
	at    time.Time
}

func (j *jar) put(hub netip.AddrPort, value [16]byte, now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.cookies == nil {
		j.cookies = map[netip.AddrPort]cookie{}
	}
	j.cookies[hub] = cookie{value, now}
}

// stamp returns the call with the path's own cookie in it, or as it is.
func (j *jar) stamp(hub netip.AddrPort, msg []byte, now time.Time) []byte {
	j.mu.Lock()
	c, ok := j.cookies[hub]
	j.mu.Unlock()
	if !ok || now.Sub(c.at) >= device.CookieRefreshTime {
		return msg
	}
	mac, err := blake2s.New128(c.value[:])
	if err != nil {
		return msg
	}
	stamped := append([]byte(nil), msg[:mac2At]...)
	mac.Write(stamped)
	return mac.Sum(stamped)
}
