package firewall

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"clinicgate/netd/config"
)

// Shut is for a box whose rules can't be installed: wherever no generation is in
// force it denies everything but what brings help, the technician's page, pings,
// and what keeps a pair together. It asks for so little of the kernel and the
// programs that it works where Install doesn't: one table, no connection tracking.
// An error means that a family may be open. Stop anywhere: a family is as it was, or
// shut. The next Install takes the place of these rules.
func Shut(ctx context.Context, c config.Config) error {
	var errs []error
	for _, six := range []bool{true, false} {
		f, err := open(ctx, six)
		if err == nil && f.force == 0 {
			err = f.shut(ctx, book{c: c, six: six})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// shut denies all but the little, and if even that is refused, all but what the box
// says to itself.
func (f *family) shut(ctx context.Context, b book) error {
	err := f.run(ctx, f.closed(b.little()))
	if err != nil && f.run(ctx, f.closed(b.little()[:1])) == nil {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("shut, %s: %w", f.name, err)
	}
	return err
}

// closed is the input that shuts a family. The rules stand in the anchor itself,
// where a generation's jump will take their place.
func (f *family) closed(rules []string) string {
	var b strings.Builder
	b.WriteString("*filter\n:INPUT DROP [0:0]\n:FORWARD DROP [0:0]\n:cg-input - [0:0]\n")
	for _, r := range rules {
		fmt.Fprintf(&b, "-A cg-input %s\n", r)
	}
	if !slices.Contains(f.hung, "filter cg-input") {
		b.WriteString("-I INPUT 1 -j cg-input\n")
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// little is what a shut box answers, on the clinic's side alone.
func (b book) little() []string {
	rules := append([]string{"-i lo -j ACCEPT"}, b.lifeline()...)
	icmp := "icmp"
	if b.six {
		icmp = "icmpv6" // neighbours too
	}
	for _, z := range b.c.Zones {
		if z.Kind == config.KindService && !b.six && slices.ContainsFunc(b.c.DHCP, func(d config.Addresses) bool { return d.Zone == z.Name }) {
			rules = append(rules, fmt.Sprintf("-i %s -p udp --sport 68 --dport 67 -j ACCEPT", z.Port))
		}
		vrrp := config.Service{Proto: "vrrp"}
		for _, dev := range b.devices(z) {
			rules = append(rules, fmt.Sprintf("-i %s -p %s -j ACCEPT", dev, icmp))
			if slices.Contains(z.Serves, vrrp) {
				rules = append(rules, fmt.Sprintf("-i %s %s -j ACCEPT", dev, b.match(vrrp)))
			}
		}
	}
	return append(rules, b.cable()...)
}
