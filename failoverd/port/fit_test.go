package port

import (
	"net/netip"
	"strings"
	"testing"

	"clinicgate/firmware/wire"
)

func prefixes(s ...string) (all []netip.Prefix) {
	for _, p := range s {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}

func TestFit(t *testing.T) {
	shared := prefixes("10.20.0.1/24")
	for name, c := range map[string]struct {
		port     Port
		id, what string
	}{
		"fit":         {Port{There: true, Carrier: true, Own: prefixes("10.9.0.1/24", "10.20.0.2/24")}, "", ""},
		"no port":     {Port{}, NoPort, "there is no port lan"},
		"no link":     {Port{There: true, Own: prefixes("10.20.0.2/24")}, NoLink, "no link on lan"},
		"no address":  {Port{There: true, Carrier: true}, NoAddress, "no address of its own in the network of 10.20.0.1/24"},
		"other net":   {Port{There: true, Carrier: true, Own: prefixes("10.9.0.1/24")}, NoAddress, "only [10.9.0.1/24]"},
		"own is ours": {Port{There: true, Carrier: true, Own: prefixes("10.20.0.1/24")}, OwnShared, "10.20.0.1 is shared"},
	} {
		t.Run(name, func(t *testing.T) {
			c.port.Name = "lan"
			self, fault := c.port.Fit(shared, false)
			if c.id == "" {
				if fault != nil || self != netip.MustParseAddr("10.20.0.2") {
					t.Errorf("got %v, %+v", self, fault)
				}
				return
			}
			if fault == nil || fault.ID != c.id || !strings.Contains(fault.What, c.what) || self.IsValid() {
				t.Fatalf("got %v, %+v, want %s: %s", self, fault, c.id, c.what)
			}
			if fault.Do == "" || fault.Where != "port lan" || fault.Severity == wire.Note {
				t.Errorf("unfinished: %+v", fault)
			}
		})
	}
}

// An owner advertises from the shared address itself where that is its own.
func TestOwner(t *testing.T) {
	p := Port{Name: "lan", There: true, Carrier: true, Own: prefixes("10.20.0.1/24")}
	if self, fault := p.Fit(prefixes("10.20.0.1/24"), true); fault != nil || self != netip.MustParseAddr("10.20.0.1") {
		t.Errorf("got %v, %+v", self, fault)
	}
}

func TestMissing(t *testing.T) {
	p := Port{Shared: []netip.Addr{netip.MustParseAddr("10.20.0.1")}}
	if p.Missing(prefixes("10.20.0.1/24")) {
		t.Error("missed what is there")
	}
	if !p.Missing(prefixes("10.20.0.1/24", "10.20.0.9/24")) {
		t.Error("did not miss what is gone")
	}
}
