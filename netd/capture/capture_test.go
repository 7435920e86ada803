package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
)

const secret = "GARCIA^MARIA 642341"

// ip is a datagram of version 4.
func ip(proto byte, content ...[]byte) []byte {
	b := make([]byte, 20)
	b[0], b[9] = 0x45, proto
	return append(b, bytes.Join(content, nil)...)
}

func ports(from, to uint16, length int) []byte {
	b := make([]byte, length)
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	return b
}

func segment(to uint16) []byte {
	b := ports(50000, to, 32)
	b[12] = 8 << 4 // with options
	return append(b, secret...)
}

func ether(kind uint16, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 12), kind), content...)
}

// TestKeep: headers stay, and never a word of what is said.
func TestKeep(t *testing.T) {
	talk := append(ports(50000, 53, 8), secret...)
	six := func(next byte, content []byte) []byte {
		b := make([]byte, 40)
		b[0], b[6] = 0x60, next
		return append(b, content...)
	}
	fragment := ip(protoTCP, []byte(secret))
	fragment[7] = 5
	tagged := append([]byte{0, 30}, ether(etherIPv4, ip(protoTCP, segment(11112)))[12:]...)
	for name, c := range map[string]struct {
		frame    []byte
		ethernet bool
		want     int
	}{
		"TCP":                  {ether(etherIPv4, ip(protoTCP, segment(8443))), true, 14 + 20 + 32},
		"TCP in a tunnel":      {ip(protoTCP, segment(8443)), false, 20 + 32},
		"TCP in a VLAN":        {ether(etherVLAN, tagged), true, 18 + 20 + 32},
		"UDP":                  {ether(etherIPv4, ip(protoUDP, talk)), true, 14 + 20 + 8},
		"a later fragment":     {ether(etherIPv4, fragment), true, 14 + 20},
		"an echo":              {ether(etherIPv4, ip(protoICMP, make([]byte, 8), []byte(secret))), true, 14 + 20 + 8},
		"an error quoting TCP": {ether(etherIPv4, ip(protoICMP, []byte{3, 0, 0, 0, 0, 0, 0, 0}, ip(protoTCP, segment(8443)))), true, 14 + 20 + 8 + 20 + 32},
		"IPv6":                 {ether(etherIPv6, six(protoTCP, segment(8443))), true, 14 + 40 + 32},
		"IPv6 behind options":  {ether(etherIPv6, six(0, []byte(secret))), true, 14 + 40},
		"IPv6 error":           {ether(etherIPv6, six(protoICMPv6, append(make([]byte, 8), secret...))), true, 14 + 40 + 8},
		"something else":       {ether(0x9999, []byte(secret)), true, 14},
		"another protocol":     {ip(99, []byte(secret)), false, 20},
		"nonsense in a tunnel": {append([]byte{0xff}, secret...), false, 0},
	} {
		n := Keep(c.frame, c.ethernet)
		if n != c.want {
			t.Errorf("%s: %d bytes, want %d", name, n, c.want)
		}
		if bytes.Contains(c.frame[:n], []byte("GARCIA")) {
			t.Errorf("%s: a name is kept", name)
		}
	}
	offer := ether(etherIPv4, ip(protoUDP, ports(67, 68, 8), make([]byte, 240)))
	if n := Keep(offer, true); n != len(offer) {
		t.Errorf("DHCP: %d bytes of %d", n, len(offer))
	}
}

func FuzzKeep(f *testing.F) {
	f.Add(ether(etherIPv4, ip(protoTCP, segment(8443))), true)
	f.Add(ip(protoICMP, []byte{3, 0, 0, 0, 0, 0, 0, 0}, ip(protoUDP)), false)
	f.Add(ether(etherVLAN, []byte{0, 1, 8}), true)
	f.Fuzz(func(t *testing.T, frame []byte, ethernet bool) {
		if n := Keep(frame, ethernet); n < 0 || n > len(frame) {
			t.Errorf("%d bytes of %d", n, len(frame))
		}
	})
}

// TestCapture: tcpdump reads what was written of a real conversation, and what was
// said in it is not there.
func TestCapture(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("ip", "tcpdump"))
	box, pc := space(t, "cap-box"), space(t, "cap-pc")
	for _, err := range []error{netns.Veth(box, "lan", pc, "eth0"), box.Addr("lan", "10.20.0.1/24"), pc.Addr("eth0", "10.20.0.50/24")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	var listener net.Listener
	if err := box.Do(func() (err error) { listener, err = net.Listen("tcp4", "10.20.0.1:11112"); return err }); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, secret)
			c.Close()
		}
	}()
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- box.Do(func() error {
			n, err := Run(t.Context(), "lan", Limits{Packets: 40, Bytes: 1 << 20, Time: time.Minute}, &out)
			if n != 40 {
				err = errors.Join(err, fmt.Errorf("%d packets", n))
			}
			return err
		})
	}()
	for ended := false; !ended; {
		_ = pc.Do(func() error { // until the capture has seen enough
			c, err := net.DialTimeout("tcp4", "10.20.0.1:11112", time.Second)
			if err == nil {
				fmt.Fprint(c, secret)
				c.Close()
			}
			return err
		})
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		case <-time.After(20 * time.Millisecond):
		}
	}
	if bytes.Contains(out.Bytes(), []byte("GARCIA")) {
		t.Error("what was said is in the file")
	}
	file := filepath.Join(t.TempDir(), "x.pcap")
	if err := os.WriteFile(file, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	text, err := exec.Command("tcpdump", "-nr", file, "tcp").CombinedOutput()
	if err != nil || !strings.Contains(string(text), "10.20.0.1.11112: Flags [S]") {
		t.Errorf("%v: %s", err, text)
	}
}

func TestLimits(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("ip"))
	box, pc := space(t, "lim-box"), space(t, "lim-pc")
	for _, err := range []error{netns.Veth(box, "lan", pc, "eth0"), box.Addr("lan", "10.20.0.1/24"), pc.Addr("eth0", "10.20.0.50/24")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	err := box.Do(func() error {
		var out bytes.Buffer
		if _, err := Run(t.Context(), "lan", Limits{Packets: 1000, Bytes: 1 << 20, Time: time.Millisecond}, &out); err != nil {
			t.Errorf("over its time: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Run(ctx, "lan", Limits{Packets: 1000, Bytes: 1 << 20, Time: time.Hour}, &out); err != nil {
			t.Errorf("nobody wants it: %v", err)
		}
		if _, err := Run(t.Context(), "none", Limits{}, &out); err == nil {
			t.Error("a device that is not there was heard")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func space(t *testing.T, name string) *netns.Space {
	t.Helper()
	s, err := netns.New(fmt.Sprintf("cg-t%d-%s", os.Getpid(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
