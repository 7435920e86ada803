package dhcpd

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"

	"clinicgate/netd/config"
	"clinicgate/netd/dhcpd/leases"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

var device = net.HardwareAddr{0x52, 0x54, 0, 0x20, 0, 1}

func message(t testing.TB, m ...dhcpv4.Modifier) []byte {
	t.Helper()
	d, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithHwAddr(device), dhcpv4.WithMessageType(dhcpv4.MessageTypeDiscover)}, m...)...)
	if err != nil {
		t.Fatal(err)
	}
	return d.ToBytes()
}

func TestParse(t *testing.T) {
	_, q, err := parse(message(t, dhcpv4.WithOption(dhcpv4.OptHostName("ECG\x1b[2J\n\"1\" é"))))
	if err != nil || q.Kind != leases.Discover || q.MAC != config.MAC(device) || q.ID != "01525400200001" || q.Name != "ECG[2J1" {
		t.Errorf("got %+v, %v", q, err)
	}
	_, q, err = parse(message(t, dhcpv4.WithOption(dhcpv4.OptClientIdentifier([]byte{255, 1, 2})), dhcpv4.WithClientIP(net.IPv4(10, 0, 0, 9))))
	if err != nil || q.ID != "ff0102" || q.Has != netip.MustParseAddr("10.0.0.9") {
		t.Errorf("got %+v, %v", q, err)
	}
	for name, b := range map[string][]byte{
		"short":        message(t)[:200],
		"group MAC":    message(t, dhcpv4.WithHwAddr(net.HardwareAddr{1, 0, 0, 0, 0, 1})),
		"no MAC":       message(t, dhcpv4.WithHwAddr(make(net.HardwareAddr, 6))),
		"long MAC":     message(t, dhcpv4.WithHwAddr(make(net.HardwareAddr, 8))),
		"relayed":      message(t, dhcpv4.WithRelay(net.IPv4(10, 0, 0, 1))),
		"from servers": message(t, dhcpv4.WithMessageType(dhcpv4.MessageTypeOffer)),
		"BOOTP":        message(t, dhcpv4.WithoutOption(dhcpv4.OptionDHCPMessageType)),
	} {
		if _, q, err := parse(b); err == nil {
			t.Errorf("%s: accepted as %+v", name, q)
		}
	}
}

// A refusal says nothing but no; settings come without an address.
func TestAnswer(t *testing.T) {
	s := servant{server: netip.MustParseAddr("10.20.0.1"), lan: netip.MustParsePrefix("10.20.0.2/23"), domain: "clinic.internal", dns: true, time: true}
	m, _, err := parse(message(t, dhcpv4.WithMessageType(dhcpv4.MessageTypeInform), dhcpv4.WithClientIP(net.IPv4(10, 20, 0, 9))))
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr("10.20.0.9")
	inform, err := s.answer(m, leases.Reply{Do: leases.Ack, Address: a}, "")
	if err != nil || !inform.YourIPAddr.IsUnspecified() || inform.IPAddressLeaseTime(0) != 0 || inform.DNS()[0].String() != "10.20.0.1" || inform.BroadcastAddress().String() != "10.20.1.255" {
		t.Errorf("inform: %v, %v", inform, err)
	}
	m, _, err = parse(message(t, dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest)))
	if err != nil {
		t.Fatal(err)
	}
	nak, err := s.answer(m, leases.Reply{Do: leases.Nak}, "")
	if err != nil || nak.MessageType() != dhcpv4.MessageTypeNak || len(nak.Router()) != 0 || nak.ServerIdentifier().String() != "10.20.0.1" {
		t.Errorf("nak: %v, %v", nak, err)
	}
	ack, err := s.answer(m, leases.Reply{Do: leases.Ack, Address: a, Time: time.Hour}, "ecg")
	if err != nil || ack.YourIPAddr.String() != "10.20.0.9" || ack.IPAddressRenewalTime(0) != 30*time.Minute || ack.HostName() != "ecg" || ack.TransactionID != m.TransactionID {
		t.Errorf("ack: %v, %v", ack, err)
	}
}

func TestDatagram(t *testing.T) {
	src, dst := netip.MustParseAddr("10.20.0.1"), netip.MustParseAddr("10.20.0.9")
	for _, body := range [][]byte{nil, {1}, bytes.Repeat([]byte{0xff}, 301)} {
		b := datagram(src, dst, body)
		if checksum(b[:20]) != 0 || len(b) != 28+len(body) {
			t.Errorf("%d bytes: header checksum %#x, length %d", len(body), checksum(b[:20]), len(b))
		}
		s, d := src.As4(), dst.As4()
		pseudo := append(append(append([]byte{}, s[:]...), d[:]...), 0, 17, byte(len(b)-20>>8), byte(len(b)-20))
		pseudo[10], pseudo[11] = byte((len(b)-20)>>8), byte(len(b)-20)
		if sum := checksum(append(pseudo, b[20:]...)); sum != 0 {
			t.Errorf("%d bytes: UDP checksum is off by %#x", len(body), sum)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(f))
	f.Add(message(f, dhcpv4.WithOption(dhcpv4.OptClientIdentifier(bytes.Repeat([]byte{7}, 255))), dhcpv4.WithOption(dhcpv4.OptHostName("x"))))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, q, err := parse(b)
		if err != nil {
			return
		}
		if len(q.ID) < 4 || len(q.ID) > 510 || len(q.Name) > maxName || q.MAC[0]&1 != 0 {
			t.Fatalf("accepted: %+v", q)
		}
		s := servant{server: netip.MustParseAddr("10.20.0.1"), lan: netip.MustParsePrefix("10.20.0.2/24"), domain: "clinic.internal", dns: true}
		out, err := s.answer(m, leases.Reply{Do: leases.Ack, Address: netip.MustParseAddr("10.20.0.9"), Time: time.Hour}, "a")
		if err != nil || len(out.ToBytes()) > 1400 {
			t.Fatalf("answer of %d bytes, %v", len(out.ToBytes()), err)
		}
	})
}

func FuzzARP(f *testing.F) {
	a := arp{own: device}
	f.Add(a.question(netip.MustParseAddr("10.20.0.9")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if sender, ok := parseARP(b); ok && !sender.Is4() {
			t.Fatalf("sender %v", sender)
		}
	})
}
