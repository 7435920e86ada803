// Package cable is the pair's second heartbeat: beats over the cable between the
// boxes. It guarantees that what it says of the other box was said by it, a moment
// ago, to this run of the program.
package cable

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/failoverd/beat"
	"clinicgate/failoverd/trust"
)

// Config is where the other box is, and how to talk to it.
type Config struct {
	Port   string         // netdev of the cable
	Listen netip.AddrPort // this box's
	Peer   netip.AddrPort // the other box's
	Key    [32]byte       // the pair's
	Every  time.Duration  // between beats
	// Groups returns what to say; Heard is called when the other box said something
	// new. Both are called from the cable's goroutines and must not block.
	Groups func() []beat.Group
	Heard  func()
}

// Cable talks to the other box while it runs. Safe for concurrent use.
type Cable struct {
	cfg  Config
	log  *slog.Logger
	key  []byte
	kick chan struct{}

	mu      sync.Mutex
	session beat.Session
	last    time.Time // beat that was accepted
	groups  []beat.Group
	refused map[error]uint64
	err     error // why nothing goes out
}

// New makes a cable; Run plugs it in.
func New(cfg Config, log *slog.Logger) (*Cable, error) {
	key, err := beat.Key(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("derive the key of the beats: %w", err)
	}
	var own [8]byte
	rand.Read(own[:])
	return &Cable{
		cfg: cfg, log: log, key: key, kick: make(chan struct{}, 1), refused: map[error]uint64{},
		session: beat.Session{Own: max(1, binary.BigEndian.Uint64(own[:]))},
	}, nil
}

// lost is how long nothing may be heard before the cable counts as lost.
func (c *Cable) lost() time.Duration { return max(200*time.Millisecond, 4*c.cfg.Every) }

// Every is the time between beats.
func (c *Cable) Every() time.Duration { return c.cfg.Every }

// Kick has a beat sent at once: something changed that the other box waits for.
func (c *Cable) Kick() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// Status is how the cable is, for people.
type Status struct {
	State   trust.Cable
	Last    time.Time // beat; zero: none
	Refused uint64    // beats that were not the other box's
	Err     error     // why nothing goes out; nil: it does
}

// Status returns how the cable is.
func (c *Cable) Status(now time.Time) Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := Status{State: c.state(now), Last: c.last, Err: c.err}
	for _, n := range c.refused {
		st.Refused += n
	}
	return st
}

func (c *Cable) state(now time.Time) trust.Cable {
	if c.last.IsZero() || now.Sub(c.last) > c.lost() {
		return trust.Lost
	}
	return trust.Alive
}

// Other returns how the cable is and what the other box last said about a virtual
// router, and whether it asks for a sign of life from the clinic's network. Without
// one in its last beat it takes no part in it.
func (c *Cable) Other(now time.Time, vrid uint8, six bool) (state trust.Cable, other trust.Other, asks bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.groups {
		if g.VRID != vrid || g.Six != six {
			continue
		}
		other = trust.Other{Master: g.Role == beat.Master, Priority: g.Priority, Self: g.Self}
		if g.Heard < beat.Never {
			other.Heard = c.last.Add(-g.Heard)
		}
		asks = g.Asks
	}
	return c.state(now), other, asks
}

// Said returns the other box's part in a virtual router in its own words.
func (c *Cable) Said(vrid uint8, six bool) (beat.Group, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, g := range c.groups {
		if g.VRID == vrid && g.Six == six {
			return g, true
		}
	}
	return beat.Group{}, false
}

// again is the wait before the socket is opened again.
const again = time.Second

// Run keeps the cable plugged in until ctx ends.
func (c *Cable) Run(ctx context.Context) error {
	for {
		err := c.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		c.fail(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

// fail notes why nothing goes out, and logs it when it is another reason than before.
func (c *Cable) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && (c.err == nil || c.err.Error() != err.Error()) {
		c.log.Warn("the cable between the boxes", "err", err)
	}
	c.err = err
}

// once talks over one socket, which is bound to the cable's device: nothing that
// comes in elsewhere is a beat.
func (c *Cable) once(ctx context.Context) error {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) {
			failed = errors.Join(unix.BindToDevice(int(fd), c.cfg.Port), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PRIORITY, 6))
		})
		return errors.Join(err, failed)
	}}
	pc, err := lc.ListenPacket(ctx, "udp", c.cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	conn := pc.(*net.UDPConn)
	defer conn.Close()
	ended := make(chan error, 1)
	go func() { ended <- c.listen(conn) }()
	tick := time.NewTicker(c.cfg.Every)
	defer tick.Stop()
	for {
		c.fail(c.send(conn))
		select {
		case <-ctx.Done():
			c.part(conn)
			return nil
		case err := <-ended:
			return err
		case <-tick.C:
		case <-c.kick:
		}
	}
}

// parting is how long the last words may take.
const parting = 50 * time.Millisecond

// part says what the groups have to say in the end: that they step down. Without it
// the other box would not believe their resignation.
func (c *Cable) part(conn *net.UDPConn) {
	end := time.After(parting)
	for {
		select {
		case <-end:
			return
		case <-c.kick:
			if c.send(conn) != nil {
				return
			}
		}
	}
}

func (c *Cable) send(conn *net.UDPConn) error {
	groups := c.cfg.Groups()
	c.mu.Lock()
	b := beat.Seal(c.key, c.session.Next(groups))
	c.mu.Unlock()
	if _, err := conn.WriteToUDPAddrPort(b, c.cfg.Peer); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// listen takes beats in until the socket fails. That the other box's socket is
// closed is told by ICMP and is no failure.
func (c *Cable) listen(conn *net.UDPConn) error {
	var buf [beat.MaxSize + 1]byte
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf[:])
		if errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		if from.Addr().Unmap() == c.cfg.Peer.Addr() && c.take(time.Now(), buf[:n]) {
			c.cfg.Heard()
		}
	}
}

// take judges one beat; false: it is none of the other box's.
func (c *Cable) take(now time.Time, b []byte) bool {
	m, err := beat.Open(c.key, b)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		err = c.session.Accept(m)
	}
	if err != nil {
		for _, cause := range []error{beat.ErrForm, beat.ErrKey, beat.ErrReflected, beat.ErrStale, beat.ErrReplayed} {
			if errors.Is(err, cause) {
				c.refused[cause]++
			}
		}
		return false
	}
	c.last, c.groups = now, m.Groups
	return true
}
