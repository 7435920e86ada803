package netns

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
)

// Veth connects two namespaces with a cable; both ends are up.
func Veth(a *Space, aName string, b *Space, bName string) error {
	pair := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: aName, Namespace: netlink.NsFd(a.fd)},
		PeerName:      bName,
		PeerNamespace: netlink.NsFd(b.fd),
	}
	if err := a.nl.LinkAdd(pair); err != nil {
		return fmt.Errorf("connect %s/%s with %s/%s: %w", a.Name, aName, b.Name, bName, err)
	}
	if err := a.Up(aName); err != nil {
		return err
	}
	return b.Up(bName)
}

// Bridge makes a switch of the named ports, which exist already, and brings it up.
func (s *Space) Bridge(name string, ports ...string) error {
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}
	if err := s.nl.LinkAdd(br); err != nil {
		return fmt.Errorf("make bridge %s/%s: %w", s.Name, name, err)
	}
	for _, port := range ports {
		link, err := s.link(port)
		if err != nil {
			return err
		}
		if err := s.nl.LinkSetMaster(link, br); err != nil {
			return fmt.Errorf("plug %s/%s into %s: %w", s.Name, port, name, err)
		}
	}
	return s.Up(name)
}

// Up brings a device up.
func (s *Space) Up(name string) error {
	link, err := s.link(name)
	if err != nil {
		return err
	}
	if err := s.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %s/%s up: %w", s.Name, name, err)
	}
	return nil
}

// Addr gives a device an address in CIDR form.
func (s *Space) Addr(name, cidr string) error {
	link, err := s.link(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(cidr)
	if err != nil {
		return fmt.Errorf("address of %s/%s: %w", s.Name, name, err)
	}
	if err := s.nl.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("give %s/%s the address %s: %w", s.Name, name, cidr, err)
	}
	return nil
}

// Route sends dst ("default" or CIDR) through the gateway.
func (s *Space) Route(dst, gateway string) error {
	route := &netlink.Route{Gw: net.ParseIP(gateway)}
	if dst != "default" {
		_, n, err := net.ParseCIDR(dst)
		if err != nil {
			return fmt.Errorf("route of %s: %w", s.Name, err)
		}
		route.Dst = n
	}
	if err := s.nl.RouteAdd(route); err != nil {
		return fmt.Errorf("route %s of %s via %s: %w", dst, s.Name, gateway, err)
	}
	return nil
}

// RouteDev sends dst (CIDR) into a device that has no gateways, such as a tunnel.
func (s *Space) RouteDev(dst, name string) error {
	link, err := s.link(name)
	if err != nil {
		return err
	}
	_, n, err := net.ParseCIDR(dst)
	if err != nil {
		return fmt.Errorf("route of %s: %w", s.Name, err)
	}
	if err := s.nl.RouteAdd(&netlink.Route{Dst: n, LinkIndex: link.Attrs().Index}); err != nil {
		return fmt.Errorf("route %s of %s into %s: %w", dst, s.Name, name, err)
	}
	return nil
}

// Forward makes the namespace a router.
func (s *Space) Forward() error {
	return s.Do(func() error {
		// /proc/sys/net shows the namespace of the thread that opens it.
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644)
	})
}

func (s *Space) link(name string) (netlink.Link, error) {
	link, err := s.nl.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("device %s/%s: %w", s.Name, name, err)
	}
	return link, nil
}
