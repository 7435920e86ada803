package resolver

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"clinicgate/netd/resolver/upstream"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// udpSize is what we say we take, and give at most: what fits into a packet on
// every path (DNS flag day 2020).
const udpSize = 1232

// attemptTime bounds one question to one server.
const attemptTime = 2 * time.Second

// maxLies is how many datagrams that answer another question are passed over
// before the question is asked by TCP: somebody is guessing.
const maxLies = 8

// errOther is what an answer to another question is: a guess, or a server that
// does not keep the letters as they were asked.
var errOther = errors.New("answers another question")

// question is what is asked of others.
type question struct {
	name string // lower case
	kind uint16
	do   bool
	cd   bool
}

// message makes the question with letters in random case, which the answer must
// repeat: with a random port and number that is some 40 bits more to guess for who
// can't see the question (draft-vixie-dnsext-dns0x20).
func (q question) message() *dns.Msg {
	m := new(dns.Msg)
	var seed [2]byte
	rand.Read(seed[:]) // never fails
	m.Id = binary.BigEndian.Uint16(seed[:])
	m.RecursionDesired, m.CheckingDisabled = true, q.cd
	m.Question = []dns.Question{{Name: scramble(q.name), Qtype: q.kind, Qclass: dns.ClassINET}}
	m.SetEdns0(udpSize, q.do)
	return m
}

func scramble(name string) string {
	b, mask := []byte(name), make([]byte, len(name))
	rand.Read(mask)
	for i, c := range b {
		if c >= 'a' && c <= 'z' && mask[i]&1 == 1 {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// exchange asks one server, by UDP and, if the answer does not fit or is not sure, by
// TCP.
func (s *Server) exchange(ctx context.Context, to upstream.Server, q question) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	m := q.message()
	got, err := s.askUDP(ctx, to, m)
	if err == nil && !got.Truncated {
		return got, nil
	}
	if err != nil && !errors.Is(err, errOther) {
		return nil, err
	}
	return s.askTCP(ctx, to, m)
}

// dialer binds a socket to the server's uplink; the mark chooses its routes.
func (s *Server) dialer(to upstream.Server) net.Dialer {
	if to.Way == upstream.Routed {
		return net.Dialer{}
	}
	port, mark := s.way(to.Way)
	return net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		ctl := raw.Control(func(fd uintptr) {
			err = errors.Join(unix.SetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE, port),
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(mark)))
		})
		return errors.Join(ctl, err)
	}}
}

func (s *Server) dial(ctx context.Context, network string, to upstream.Server) (net.Conn, error) {
	d := s.dialer(to)
	conn, err := d.DialContext(ctx, network, netip.AddrPortFrom(to.Addr, 53).String())
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// askUDP uses a socket of its own for each question: the kernel gives it a random
// port and lets only the server's datagrams in.
func (s *Server) askUDP(ctx context.Context, to upstream.Server, m *dns.Msg) (*dns.Msg, error) {
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	conn, err := s.dial(ctx, "udp4", to)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(wire); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	for range maxLies {
		n, err := conn.Read(buf)
		if err != nil {
			return nil, err
		}
		got, err := match(buf[:n], m)
		if err == nil {
			return got, nil
		}
		if n >= 2 && binary.BigEndian.Uint16(buf) == m.Id {
			return nil, errOther // the server itself, most likely, which has no respect for letters
		}
	}
	return nil, errOther
}

// askTCP is not guessed into; letters don't matter here.
func (s *Server) askTCP(ctx context.Context, to upstream.Server, m *dns.Msg) (*dns.Msg, error) {
	wire, err := m.Pack()
	if err != nil {
		return nil, err
	}
	conn, err := s.dial(ctx, "tcp4", to)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)); err != nil {
		return nil, err
	}
	b, err := readFrame(conn, 1<<16-1)
	if err != nil {
		return nil, err
	}
	got := new(dns.Msg)
	if err := got.Unpack(b); err != nil {
		return nil, fmt.Errorf("not a DNS message: %w", err)
	}
	if got.Id != m.Id || !got.Response || len(got.Question) != 1 || !strings.EqualFold(got.Question[0].Name, m.Question[0].Name) || got.Question[0].Qtype != m.Question[0].Qtype {
		return nil, errOther
	}
	return got, nil
}

// readFrame reads a message with its length before it (RFC 1035 §4.2.2).
func readFrame(r io.Reader, most int) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n < 12 || n > most {
		return nil, fmt.Errorf("message of %d bytes, want 12 to %d", n, most)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// match takes a datagram for the answer to m only if everything in it that a
// stranger would have to guess is right.
func match(b []byte, m *dns.Msg) (*dns.Msg, error) {
	got := new(dns.Msg)
	if err := got.Unpack(b); err != nil {
		return nil, fmt.Errorf("not a DNS message: %w", err)
	}
	if got.Id != m.Id || !got.Response || got.Opcode != dns.OpcodeQuery || len(got.Question) != 1 || got.Question[0] != m.Question[0] {
		return nil, errOther
	}
	return got, nil
}

// useful reports whether an answer is one, and not a server's way of saying that it
// can't or won't.
func useful(m *dns.Msg) bool { return m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError }

// clean leaves of an answer what was asked for: names in small letters where the
// question's stand, and nothing beside answer and authority.
func clean(m *dns.Msg, name string) *dns.Msg {
	for _, section := range [][]dns.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			if h := rr.Header(); strings.EqualFold(h.Name, name) {
				h.Name = name
			}
		}
	}
	out := &dns.Msg{MsgHdr: dns.MsgHdr{Response: true, Rcode: m.Rcode}, Answer: m.Answer, Ns: m.Ns}
	out.Question = []dns.Question{{Name: name, Qtype: m.Question[0].Qtype, Qclass: dns.ClassINET}}
	return out
}
