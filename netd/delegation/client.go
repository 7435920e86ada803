package delegation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/iana"
	"golang.org/x/sys/unix"

	"clinicgate/firmware/durable"
)

// Client keeps the lease of one uplink while its link is up. It needs CAP_NET_RAW
// and CAP_NET_BIND_SERVICE.
type Client struct {
	Dev   string
	Path  string                   // where the lease is stored
	Clash func(netip.Prefix) error // why a prefix can't be used here, or nil
	Log   *slog.Logger
}

// Report is told when the lease changes: the lease, or nil and why there is none.
type Report func(l *Lease, why string)

// Waiting times.
const (
	firstWait = time.Second // for an answer, doubled at each of the tries
	tries     = 3
	// A clinic waits for this: three seconds in all.
	confirmTries = 2

	pause    = 5 * time.Second // between rounds of tries, with as much again at random
	maxPause = 2 * time.Minute // a provider without IPv6 is not asked more often
)

// Run gets and keeps a lease until ctx ends, which says that the link is gone; the
// lease is not given back then. A stored lease is confirmed first; when no server
// answers it is used as it is, until it expires.
func (c *Client) Run(ctx context.Context, report Report) {
	l, sure := c.remembered(ctx, report)
	if l != nil && !sure {
		l = c.insist(ctx, *l, report)
	}
	wait := pause
	for ctx.Err() == nil {
		if l != nil {
			l, wait = c.hold(ctx, *l, report), pause
			continue
		}
		got, err := c.acquire(ctx)
		if err == nil {
			l = c.use(got, report)
			continue
		}
		if ctx.Err() == nil {
			report(nil, err.Error())
			sleep(ctx, wait+rand.N(wait))
			wait = min(2*wait, maxPause)
		}
	}
}

// remembered returns the stored lease if it may be used, after asking, and whether
// a server said so (RFC 8415, §18.2.12).
func (c *Client) remembered(ctx context.Context, report Report) (l *Lease, sure bool) {
	old, err := durable.ReadJSON[Lease](c.Path, maxFile)
	if err != nil {
		c.Log.Warn("stored prefix", "err", err)
	}
	if old == nil || !old.reusable(time.Now()) || old.Prefix.IsValid() && c.Clash(old.Prefix) != nil {
		return nil, false
	}
	got, err := c.extend(ctx, confirmTries, *old, dhcpv6.MessageTypeRebind)
	switch {
	case err == nil:
		return c.use(got, report), true
	case errors.Is(err, errNo):
		return c.lose(report, "the server took the prefix back"), false
	case ctx.Err() != nil:
		return nil, false
	}
	report(old, fmt.Sprintf("no DHCPv6 server answers; prefix of %s in use until %s", old.Acquired.Format(time.DateTime), old.Expiry.Format(time.DateTime)))
	return old, false
}

// insist uses a lease that no server confirmed and goes on asking for one, from
// the start: the cable may lead to another network now, where a server that never
// heard of us stays silent when asked to go on.
func (c *Client) insist(ctx context.Context, l Lease, report Report) *Lease {
	for wait := pause; ; wait = min(2*wait, maxPause) {
		if !sleep(ctx, min(wait+rand.N(wait), time.Until(l.Expiry))) {
			return &l
		}
		if !time.Now().Before(l.Expiry) {
			return c.lose(report, "the prefix ran out and no DHCPv6 server renews it")
		}
		if got, err := c.acquire(ctx); err == nil {
			return c.use(got, report)
		}
	}
}

// Remembered is the prefix that a client with the path will have, if its server
// agrees or is away; invalid: none is stored.
func Remembered(path string, now time.Time) netip.Prefix {
	if l, err := durable.ReadJSON[Lease](path, maxFile); err == nil && l != nil && l.reusable(now) {
		return l.Prefix
	}
	return netip.Prefix{}
}

// hold waits for the lease's next date and acts on it. It returns the lease then
// held, nil when it is lost.
func (c *Client) hold(ctx context.Context, l Lease, report Report) *Lease {
	if !sleep(ctx, time.Until(l.T1)) {
		return &l
	}
	for ctx.Err() == nil {
		now, kind := time.Now(), dhcpv6.MessageTypeRenew
		switch {
		case !now.Before(l.Expiry):
			return c.lose(report, "the prefix ran out and no DHCPv6 server renews it")
		case !now.Before(l.T2):
			kind = dhcpv6.MessageTypeRebind
		}
		got, err := c.extend(ctx, tries, l, kind)
		switch {
		case err == nil:
			return c.use(got, report)
		case errors.Is(err, errNo):
			return c.lose(report, err.Error())
		}
		c.Log.Info("prefix not renewed yet", "port", c.Dev, "err", err)
		sleep(ctx, time.Until(l.next(time.Now())))
	}
	return &l
}

// acquire goes through solicit, advertise, request, reply once.
func (c *Client) acquire(ctx context.Context) (Lease, error) {
	s, err := c.open(ctx)
	if err != nil {
		return Lease{}, err
	}
	defer s.Close()
	ask, err := s.message(dhcpv6.MessageTypeSolicit, nil, Lease{})
	if err != nil {
		return Lease{}, err
	}
	offer, err := s.exchange(ctx, tries, ask, dhcpv6.MessageTypeAdvertise, nil)
	if err != nil {
		return Lease{}, err
	}
	offered, err := accept(offer, s.id, time.Now())
	if err != nil {
		return Lease{}, err
	}
	return c.settle(ctx, s, tries, dhcpv6.MessageTypeRequest, offered)
}

// extend asks for more time: the lease's own server, or any.
func (c *Client) extend(ctx context.Context, tries int, l Lease, kind dhcpv6.MessageType) (Lease, error) {
	s, err := c.open(ctx)
	if err != nil {
		return Lease{}, err
	}
	defer s.Close()
	return c.settle(ctx, s, tries, kind, l)
}

// settle asks for what l says and accepts the answer, or says why it can't be used.
func (c *Client) settle(ctx context.Context, s *socket, tries int, kind dhcpv6.MessageType, l Lease) (Lease, error) {
	server := l.Server
	if kind == dhcpv6.MessageTypeRebind {
		server = nil
	}
	ask, err := s.message(kind, server, l)
	if err != nil {
		return Lease{}, err
	}
	m, err := s.exchange(ctx, tries, ask, dhcpv6.MessageTypeReply, server)
	if err != nil {
		return Lease{}, err
	}
	got, err := accept(m, s.id, time.Now())
	if err == nil && got.Prefix.IsValid() {
		if clash := c.Clash(got.Prefix); clash != nil {
			err = fmt.Errorf("%w: %w", errNo, clash)
		}
	}
	return got, err
}

// maxFile bounds what is read back of a stored lease, in bytes.
const maxFile = 16 << 10

// use stores a lease and then tells. A disk that refuses costs the memory of it,
// not the lease. Stop between: the server still holds the old prefix for us, or
// denies it.
func (c *Client) use(l Lease, report Report) *Lease {
	if err := durable.WriteJSON(c.Path, l, 0o600); err != nil {
		c.Log.Error("store prefix", "port", c.Dev, "err", err)
	}
	report(&l, "by DHCPv6")
	return &l
}

// lose tells that the prefix may no longer be used.
func (c *Client) lose(report Report, why string) *Lease {
	if err := durable.Remove(c.Path); err != nil {
		c.Log.Error("forget prefix", "port", c.Dev, "err", err)
	}
	report(nil, why)
	return nil
}

// sleep reports whether the time passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(max(d, 0)):
		return true
	}
}

// A socket is open for one conversation only.
type socket struct {
	*net.UDPConn
	to   *net.UDPAddr
	duid dhcpv6.DUID
	id   [4]byte // of our identity associations: one per port
}

func (c *Client) open(ctx context.Context) (*socket, error) {
	ifi, err := net.InterfaceByName(c.Dev)
	if err != nil {
		return nil, fmt.Errorf("DHCPv6 on %s: %w", c.Dev, err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctl := raw.Control(func(fd uintptr) { err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, c.Dev) })
		return errors.Join(ctl, err)
	}}
	conn, err := lc.ListenPacket(ctx, "udp6", fmt.Sprintf("[::]:%d", dhcpv6.DefaultClientPort))
	if err != nil {
		return nil, fmt.Errorf("DHCPv6 on %s: %w", c.Dev, err)
	}
	return &socket{
		UDPConn: conn.(*net.UDPConn),
		to:      &net.UDPAddr{IP: dhcpv6.AllDHCPRelayAgentsAndServers, Port: dhcpv6.DefaultServerPort, Zone: c.Dev},
		duid:    &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: ifi.HardwareAddr},
		id:      [4]byte{0, 0, 0, 1},
	}, nil
}

// message asks for a prefix and an address, or to keep those of l.
func (s *socket) message(kind dhcpv6.MessageType, server []byte, l Lease) (*dhcpv6.Message, error) {
	m, err := dhcpv6.NewMessage()
	if err != nil {
		return nil, fmt.Errorf("DHCPv6: %w", err)
	}
	m.MessageType = kind
	m.AddOption(dhcpv6.OptClientID(s.duid))
	if server != nil {
		id, err := dhcpv6.DUIDFromBytes(server)
		if err != nil {
			return nil, fmt.Errorf("DHCPv6: server's identity: %w", err)
		}
		m.AddOption(dhcpv6.OptServerID(id))
	}
	m.AddOption(dhcpv6.OptElapsedTime(0))
	pd := &dhcpv6.OptIAPD{IaId: s.id}
	if l.Prefix.IsValid() {
		pd.Options.Add(&dhcpv6.OptIAPrefix{Prefix: &net.IPNet{IP: l.Prefix.Addr().AsSlice(), Mask: net.CIDRMask(l.Prefix.Bits(), 128)}})
	}
	m.AddOption(pd)
	if kind == dhcpv6.MessageTypeSolicit || l.Address.IsValid() {
		na := &dhcpv6.OptIANA{IaId: s.id}
		if l.Address.IsValid() {
			na.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: l.Address.AsSlice()})
		}
		m.AddOption(na)
	}
	return m, nil
}

// exchange sends ask until an answer of the wanted type comes.
func (s *socket) exchange(ctx context.Context, tries int, ask *dhcpv6.Message, want dhcpv6.MessageType, server []byte) (*dhcpv6.Message, error) {
	defer context.AfterFunc(ctx, func() { s.Close() })()
	out := ask.ToBytes()
	buf := make([]byte, maxMessage)
	wait := firstWait
	for range tries {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// Without a link-local address yet, this one is lost like any other.
		if _, err := s.WriteTo(out, s.to); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENETUNREACH) {
			return nil, fmt.Errorf("DHCPv6: %w", err)
		}
		s.SetReadDeadline(time.Now().Add(wait))
		for {
			n, from, err := s.ReadFromUDPAddrPort(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("DHCPv6: %w", err)
			}
			if !from.Addr().IsLinkLocalUnicast() || from.Port() != dhcpv6.DefaultServerPort {
				continue
			}
			if m, err := answer(buf[:n], ask, want, server); err == nil {
				return m, nil
			}
		}
		wait *= 2
	}
	return nil, errors.New("no DHCPv6 server answers")
}
