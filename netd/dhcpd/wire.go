package dhcpd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"clinicgate/netd/config"

	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// Ports of DHCP (RFC 2131 §4.1).
const (
	serverPort = 67
	clientPort = 68
)

// listen opens the server's socket on one device.
func listen(ctx context.Context, dev string) (*net.UDPConn, error) {
	return open(ctx, "0.0.0.0", func(fd int) error {
		return errors.Join(unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, dev),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
	})
}

// listenShared opens one for what is sent to the pair's address, by whatever
// device, whether or not this box has the address now.
func listenShared(ctx context.Context, shared netip.Addr) (*net.UDPConn, error) {
	return open(ctx, shared.String(), func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
	})
}

func open(ctx context.Context, address string, set func(fd int) error) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctl := raw.Control(func(fd uintptr) {
			err = errors.Join(set(int(fd)), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
		})
		return errors.Join(ctl, err)
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", fmt.Sprintf("%s:%d", address, serverPort))
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

// frames sends answers as whole Ethernet frames: most devices that are answered
// have no address yet and can't be asked for it by ARP.
type frames struct {
	conn *packet.Conn
	own  net.HardwareAddr
}

func openFrames(ifc *net.Interface) (*frames, error) {
	conn, err := packet.Listen(ifc, packet.Raw, 0, nil) // protocol 0 receives nothing
	if err != nil {
		return nil, fmt.Errorf("open frames on %s: %w", ifc.Name, err)
	}
	return &frames{conn: conn, own: ifc.HardwareAddr}, nil
}

// everyone is Ethernet's broadcast address.
var everyone = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// send sends a datagram from the server's port to a device's.
func (f *frames) send(to config.MAC, src, dst netip.Addr, body []byte) error {
	b := make([]byte, 0, 14+20+8+len(body))
	b = append(b, to[:]...)
	b = append(b, f.own...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, datagram(src, dst, body)...)
	_, err := f.conn.WriteTo(b, &packet.Addr{HardwareAddr: to[:]})
	return err
}

// datagram is an IPv4 packet with UDP in it (RFC 791 §3.1, RFC 768).
func datagram(src, dst netip.Addr, body []byte) []byte {
	s, d := src.As4(), dst.As4()
	n := 8 + len(body)
	udp := make([]byte, 8, n)
	binary.BigEndian.PutUint16(udp[0:], serverPort)
	binary.BigEndian.PutUint16(udp[2:], clientPort)
	binary.BigEndian.PutUint16(udp[4:], uint16(n))
	udp = append(udp, body...)
	pseudo := append(append(append([]byte{}, s[:]...), d[:]...), 0, unix.IPPROTO_UDP, byte(n>>8), byte(n))
	sum := checksum(append(pseudo, udp...))
	if sum == 0 {
		sum = 0xffff // 0 means: not computed
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	ip := []byte{0x45, 0xc0, 0, 0, 0, 0, 0x40, 0, 64, unix.IPPROTO_UDP, 0, 0}
	binary.BigEndian.PutUint16(ip[2:], uint16(20+n))
	ip = append(append(ip, s[:]...), d[:]...)
	binary.BigEndian.PutUint16(ip[10:], checksum(ip))
	return append(ip, udp...)
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// arp asks whether anybody uses an address (RFC 5227 §2.1.1).
type arp struct {
	conn *packet.Conn
	own  net.HardwareAddr

	mu      sync.Mutex
	waiting map[netip.Addr]chan struct{} // closed by an answer
}

func openARP(ifc *net.Interface) (*arp, error) {
	conn, err := packet.Listen(ifc, packet.Datagram, unix.ETH_P_ARP, nil)
	if err != nil {
		return nil, fmt.Errorf("open ARP on %s: %w", ifc.Name, err)
	}
	return &arp{conn: conn, own: ifc.HardwareAddr, waiting: map[netip.Addr]chan struct{}{}}, nil
}

// receive takes in answers until the socket is closed. Any ARP message that names
// the address as its sender's shows that it is used.
func (a *arp) receive() error {
	buf := make([]byte, 128)
	for {
		n, _, err := a.conn.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive ARP: %w", err)
		}
		sender, ok := parseARP(buf[:n])
		if !ok {
			continue
		}
		a.mu.Lock()
		if heard, asked := a.waiting[sender]; asked {
			close(heard)
			delete(a.waiting, sender)
		}
		a.mu.Unlock()
	}
}

// arpHead is Ethernet and IPv4, with their lengths (RFC 826).
var arpHead = [6]byte{0, 1, 8, 0, 6, 4}

func parseARP(b []byte) (sender netip.Addr, ok bool) {
	if len(b) < 28 || [6]byte(b[:6]) != arpHead {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b[14:18])), true
}

// Two questions: the first may be lost, or meet a radio that sleeps.
const (
	arpTries = 2
	arpWait  = 200 * time.Millisecond
)

// used asks and reports whether anybody answered. That it could not be asked
// counts as nobody: a device without an address helps no one.
func (a *arp) used(ctx context.Context, target netip.Addr) bool {
	a.mu.Lock()
	heard, asked := a.waiting[target]
	if !asked {
		heard = make(chan struct{})
		a.waiting[target] = heard
	}
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		if a.waiting[target] == heard {
			delete(a.waiting, target)
		}
		a.mu.Unlock()
	}()
	for range arpTries {
		if _, err := a.conn.WriteTo(a.question(target), &packet.Addr{HardwareAddr: everyone[:]}); err != nil {
			return false
		}
		select {
		case <-heard:
			return true
		case <-ctx.Done():
			return false
		case <-time.After(arpWait):
		}
	}
	return false
}

// question is a request without a sender's address: nobody learns from it.
func (a *arp) question(target netip.Addr) []byte {
	t := target.As4()
	b := append(arpHead[:len(arpHead):len(arpHead)], 0, 1)
	b = append(b, a.own...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, t[:]...)
}
