package discovery

import (
	"errors"
	"fmt"
	"net/netip"

	"clinicgate/netd/advert"

	"github.com/mdlayher/ndp"
)

// errRefused is what no neighbour may say (RFC 4861, §6.1).
var errRefused = errors.New("not a router's message of this link")

// parseAdvert reads a router advertisement that came with the hop limit.
func parseAdvert(b []byte, from netip.Addr, hops int) (advert.Advert, error) {
	if hops != 255 || !from.IsLinkLocalUnicast() {
		return advert.Advert{}, errRefused
	}
	m, err := ndp.ParseMessage(b)
	if err != nil {
		return advert.Advert{}, fmt.Errorf("read router advertisement: %w", err)
	}
	ra, ok := m.(*ndp.RouterAdvertisement)
	if !ok {
		return advert.Advert{}, errRefused
	}
	a := advert.Advert{Lifetime: ra.RouterLifetime, Managed: ra.ManagedConfiguration, Other: ra.OtherConfiguration}
	switch ra.RouterSelectionPreference {
	case ndp.High:
		a.Prefer = 1
	case ndp.Low:
		a.Prefer = -1
	}
	for _, o := range ra.Options {
		take(&a, o)
	}
	return a, nil
}

// take adds an option, within the bounds of an Advert.
func take(a *advert.Advert, o ndp.Option) {
	switch o := o.(type) {
	case *ndp.PrefixInformation:
		if p := netip.PrefixFrom(o.Prefix, int(o.PrefixLength)); p.IsValid() && len(a.Prefixes) < advert.MaxPrefixes {
			a.Prefixes = append(a.Prefixes, advert.Prefix{Prefix: p.Masked(), OnLink: o.OnLink, Auto: o.AutonomousAddressConfiguration,
				Preferred: o.PreferredLifetime, Valid: o.ValidLifetime})
		}
	case *ndp.MTU:
		if o.MTU >= 1280 && o.MTU <= 65535 {
			a.MTU = int(o.MTU)
		}
	case *ndp.RecursiveDNSServer:
		list := &a.DNS
		if o.Lifetime == 0 {
			list = &a.Gone
		}
		for _, s := range o.Servers {
			if len(*list) < advert.MaxServers {
				*list = append(*list, s)
			}
		}
	}
}

// marshalAdvert is the message of a; its checksum is the kernel's work.
func marshalAdvert(a advert.Advert, mac []byte) ([]byte, error) {
	ra := &ndp.RouterAdvertisement{CurrentHopLimit: 64, RouterLifetime: a.Lifetime, ManagedConfiguration: a.Managed, OtherConfiguration: a.Other}
	if len(mac) == 6 {
		ra.Options = append(ra.Options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac})
	}
	for _, p := range a.Prefixes {
		ra.Options = append(ra.Options, &ndp.PrefixInformation{Prefix: p.Prefix.Addr(), PrefixLength: uint8(p.Prefix.Bits()), OnLink: p.OnLink,
			AutonomousAddressConfiguration: p.Auto, PreferredLifetime: p.Preferred, ValidLifetime: p.Valid})
	}
	if len(a.DNS) > 0 {
		ra.Options = append(ra.Options, &ndp.RecursiveDNSServer{Lifetime: advert.ServerLife, Servers: a.DNS})
	}
	if len(a.Gone) > 0 {
		ra.Options = append(ra.Options, &ndp.RecursiveDNSServer{Servers: a.Gone})
	}
	return ndp.MarshalMessage(ra)
}

// parseSolicit reads a router solicitation. A host without an address asks from
// the unspecified one.
func parseSolicit(b []byte, from netip.Addr, hops int) error {
	if hops != 255 || !from.IsLinkLocalUnicast() && !from.IsUnspecified() {
		return errRefused
	}
	m, err := ndp.ParseMessage(b)
	if err != nil {
		return fmt.Errorf("read router solicitation: %w", err)
	}
	if _, ok := m.(*ndp.RouterSolicitation); !ok {
		return errRefused
	}
	return nil
}
