package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"golang.org/x/sys/unix"

	"clinicgate/firmware/durable"
)

// Client keeps the lease of one uplink while its link is up. It needs CAP_NET_RAW
// and CAP_NET_BIND_SERVICE.
type Client struct {
	Dev   string
	Path  string                   // where the lease is stored
	Clash func(netip.Prefix) error // why an address can't be used here, or nil
	Log   *slog.Logger
}

// Report is told when the lease changes: the lease, or nil and why there is none.
type Report func(l *Lease, why string)

// Waiting times. A server answers within milliseconds; a provider's relay may
// take a second.
const (
	firstWait = time.Second // doubled at each of the tries
	tries     = 3
	// A clinic waits for this: three seconds in all.
	confirmTries = 2

	pause   = 5 * time.Second // between rounds of tries, with as much again at random
	afterNo = 30 * time.Second
)

// Run gets and keeps a lease until ctx ends, which says that the link is gone; the
// lease is not given back then. A stored lease is confirmed first (RFC 2131 §3.2);
// when no server answers it is used as it is, until it expires.
func (c *Client) Run(ctx context.Context, report Report) {
	l, sure := c.confirmed(ctx, report)
	for ctx.Err() == nil {
		switch {
		case l == nil:
			l, sure = c.acquire(ctx, report), true
		case !sure:
			l, sure = c.insist(ctx, *l, report), true
		default:
			l = c.hold(ctx, *l, report)
		}
	}
}

// confirmed returns the stored lease if it may be used, after asking, and whether
// a server said so.
func (c *Client) confirmed(ctx context.Context, report Report) (l *Lease, sure bool) {
	old, err := durable.ReadJSON[Lease](c.Path, maxFile)
	if err != nil {
		c.Log.Warn("stored lease", "err", err)
	}
	if old == nil || !old.reusable(time.Now()) || c.Clash(old.Address) != nil {
		return nil, false
	}
	got, err := c.ask(ctx, confirmTries, func(ctx context.Context, cl *nclient4.Client) (*dhcpv4.DHCPv4, error) {
		return exchange(ctx, cl, nclient4.DefaultServers, dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(old.Address.Addr().AsSlice())))
	})
	switch {
	case err == nil:
		return c.use(got, report), true
	case errors.Is(err, errNo):
		return c.lose(report, "the server took the lease back"), false
	case ctx.Err() != nil:
		return nil, false
	}
	report(old, fmt.Sprintf("no DHCP server answers; lease of %s in use until %s", old.Acquired.Format(time.DateTime), old.Expiry.Format(time.DateTime)))
	return old, false
}

// insist uses a lease that no server confirmed and goes on asking for one, from
// the start: the cable may lead to another network now, where a server that never
// heard of us stays silent when asked for an address of before.
func (c *Client) insist(ctx context.Context, l Lease, report Report) *Lease {
	for {
		if !sleep(ctx, min(pause+rand.N(pause), time.Until(l.Expiry))) {
			return &l
		}
		if l.phase(time.Now()) == expired {
			return c.lose(report, "the lease ran out and no DHCP server renews it")
		}
		if got, err := c.discover(ctx); err == nil {
			return c.use(got, report)
		}
	}
}

// discover goes through discover, offer, request, acknowledge once.
func (c *Client) discover(ctx context.Context) (Lease, error) {
	return c.ask(ctx, tries, func(ctx context.Context, cl *nclient4.Client) (*dhcpv4.DHCPv4, error) {
		got, err := cl.Request(ctx, wishes)
		if err != nil {
			return nil, noAnswer(err)
		}
		return got.ACK, nil
	})
}

// acquire gets a lease or tells why not and lets some time pass.
func (c *Client) acquire(ctx context.Context, report Report) *Lease {
	l, err := c.discover(ctx)
	if err == nil {
		return c.use(l, report)
	}
	if ctx.Err() == nil {
		report(nil, err.Error())
		wait := pause + rand.N(pause)
		if errors.Is(err, errNo) {
			wait = afterNo
		}
		sleep(ctx, wait)
	}
	return nil
}

// hold waits for the lease's next date and acts on it. It returns the lease then
// held, nil when it is lost.
func (c *Client) hold(ctx context.Context, l Lease, report Report) *Lease {
	if l.phase(time.Now()) == bound && !sleep(ctx, time.Until(l.T1)) {
		return &l
	}
	for ctx.Err() == nil {
		p := l.phase(time.Now())
		if p == expired {
			return c.lose(report, "the lease ran out and no DHCP server renews it")
		}
		renewed, err := c.extend(ctx, l, p)
		switch {
		case err == nil:
			return c.use(renewed, report)
		case errors.Is(err, errNo):
			return c.lose(report, err.Error())
		}
		c.Log.Info("lease not renewed yet", "port", c.Dev, "err", err)
		sleep(ctx, time.Until(l.next(time.Now())))
	}
	return &l
}

// extend asks for more time: the lease's own server, later anyone.
func (c *Client) extend(ctx context.Context, l Lease, p phase) (Lease, error) {
	own := dhcpv4.WithClientIP(l.Address.Addr().AsSlice())
	if p == renewing && l.Server.IsValid() {
		return c.renew(ctx, l, own)
	}
	return c.ask(ctx, tries, func(ctx context.Context, cl *nclient4.Client) (*dhcpv4.DHCPv4, error) {
		return exchange(ctx, cl, nclient4.DefaultServers, own)
	})
}

// renew asks the server that gave the lease, from the leased address.
func (c *Client) renew(ctx context.Context, l Lease, own dhcpv4.Modifier) (Lease, error) {
	ifc, err := net.InterfaceByName(c.Dev)
	if err != nil {
		return Lease{}, err
	}
	lc := net.ListenConfig{Control: c.bind}
	conn, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(l.Address.Addr(), nclient4.ClientPort).String())
	if err != nil {
		return Lease{}, fmt.Errorf("renew: %w", err)
	}
	cl, err := nclient4.NewWithConn(conn, ifc.HardwareAddr, nclient4.WithTimeout(firstWait), nclient4.WithRetry(tries))
	if err != nil {
		conn.Close()
		return Lease{}, fmt.Errorf("renew: %w", err)
	}
	defer cl.Close()
	server := net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.Server, nclient4.ServerPort))
	ack, err := exchange(ctx, cl, server, own)
	if err != nil {
		return Lease{}, err
	}
	return c.check(ack)
}

func (c *Client) bind(_, _ string, raw syscall.RawConn) error {
	var err error
	ctl := raw.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, c.Dev)
	})
	return errors.Join(ctl, err)
}

// ask opens a raw client for one exchange only: while it is open it sees every
// packet of the port.
func (c *Client) ask(ctx context.Context, tries int, f func(context.Context, *nclient4.Client) (*dhcpv4.DHCPv4, error)) (Lease, error) {
	cl, err := nclient4.New(c.Dev, nclient4.WithTimeout(firstWait), nclient4.WithRetry(tries))
	if err != nil {
		return Lease{}, fmt.Errorf("DHCP on %s: %w", c.Dev, err)
	}
	defer cl.Close()
	ack, err := f(ctx, cl)
	if err != nil {
		return Lease{}, err
	}
	return c.check(ack)
}

// errNo is a server's refusal, or ours of what it offers.
var errNo = errors.New("no lease")

// wishes are the options that a server is asked for.
func wishes(m *dhcpv4.DHCPv4) {
	dhcpv4.WithRequestedOptions(dhcpv4.OptionSubnetMask, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer, dhcpv4.OptionClasslessStaticRoute)(m)
}

// exchange sends one REQUEST outside of the four-way exchange and returns the ACK.
func exchange(ctx context.Context, cl *nclient4.Client, to *net.UDPAddr, m ...dhcpv4.Modifier) (*dhcpv4.DHCPv4, error) {
	req, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithHwAddr(cl.InterfaceAddr()),
		dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest),
		wishes,
		dhcpv4.WithOption(dhcpv4.OptMaxMessageSize(nclient4.MaxMessageSize)),
	}, m...)...)
	if err != nil {
		return nil, err
	}
	got, err := cl.SendAndRead(ctx, to, req, nclient4.IsMessageType(dhcpv4.MessageTypeAck, dhcpv4.MessageTypeNak))
	if err != nil {
		return nil, noAnswer(err)
	}
	if got.MessageType() == dhcpv4.MessageTypeNak {
		return nil, fmt.Errorf("%w: the server says no", errNo)
	}
	return got, nil
}

// noAnswer puts the library's words into ours.
func noAnswer(err error) error {
	var nak *nclient4.ErrNak
	switch {
	case errors.As(err, &nak):
		return fmt.Errorf("%w: the server says no", errNo)
	case errors.Is(err, nclient4.ErrNoResponse):
		return errors.New("no DHCP server answers")
	}
	return fmt.Errorf("DHCP: %w", err)
}

// check accepts an ACK or says why it can't be used here.
func (c *Client) check(ack *dhcpv4.DHCPv4) (Lease, error) {
	l, err := accept(ack, time.Now())
	if err == nil {
		err = c.Clash(l.Address)
	}
	if err == nil { // it may lie outside of the address's network
		if err = c.Clash(netip.PrefixFrom(l.Gateway, 32)); err != nil {
			err = fmt.Errorf("the gateway: %w", err)
		}
	}
	if err != nil {
		return Lease{}, fmt.Errorf("%w: %w", errNo, err)
	}
	return l, nil
}

// maxFile bounds what is read back of a stored lease, in bytes.
const maxFile = 16 << 10

// use stores a lease and then tells. A disk that refuses costs the memory of it,
// not the lease. Stop between: the server still holds the old address for us, or
// answers with a NAK.
func (c *Client) use(l Lease, report Report) *Lease {
	if err := durable.WriteJSON(c.Path, l, 0o600); err != nil {
		c.Log.Error("store lease", "port", c.Dev, "err", err)
	}
	report(&l, "lease from "+l.Server.String())
	return &l
}

// lose tells that the address may no longer be used.
func (c *Client) lose(report Report, why string) *Lease {
	if err := durable.Remove(c.Path); err != nil {
		c.Log.Error("forget lease", "port", c.Dev, "err", err)
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
