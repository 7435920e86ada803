package dimse

import (
	"fmt"
	"net"
	"testing"
	"time"

	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/pdu"
)

const (
	ecgClass = "1.2.840.10008.5.1.4.1.1.9.1.1"
	explicit = "1.2.840.10008.1.2.1"
	ecgUID   = "1.3.6.1.4.1.20029.40.20130125105919.5407.1.1"
)

// An scu is a sender that can misbehave: it writes what the test says.
type scu struct {
	t    *testing.T
	conn net.Conn
	in   *pdu.Reader
}

func dial(t *testing.T, addr string) *scu {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newSCU(t, conn)
}

func newSCU(t *testing.T, conn net.Conn) *scu {
	t.Cleanup(func() { conn.Close() })
	return &scu{t, conn, pdu.NewReader(conn, 1<<20)}
}

func (s *scu) send(p pdu.PDU) {
	if _, err := s.conn.Write(pdu.Append(nil, p)); err != nil {
		s.t.Logf("send %v: %v", p, err)
	}
}

func (s *scu) read() pdu.PDU {
	s.t.Helper()
	p, err := s.in.Read()
	if err != nil {
		s.t.Fatalf("read: %v", err)
	}
	return p
}

// associate asks for verification (1), ECG (3) and CT (5).
func (s *scu) associate() pdu.PDU {
	s.t.Helper()
	s.send(&pdu.AssociateRQ{Version: 1, Called: "CLINICGATE", Calling: "ECGCART", Application: pdu.ApplicationContextUID,
		Contexts: []pdu.Context{
			{ID: 1, Abstract: "1.2.840.10008.1.1", Transfer: []string{"1.2.840.10008.1.2"}},
			{ID: 3, Abstract: ecgClass, Transfer: []string{explicit}},
			{ID: 5, Abstract: "1.2.840.10008.5.1.4.1.1.2", Transfer: []string{explicit}},
		}})
	return s.read()
}

func (s *scu) open() *scu {
	s.t.Helper()
	if p, ok := s.associate().(*pdu.AssociateAC); !ok {
		s.t.Fatalf("got %v, want an acceptance", p)
	}
	return s
}

func (s *scu) command(context byte, c command.Command) {
	s.send(&pdu.Data{PDVs: []pdu.PDV{{Context: context, Command: true, Last: true, Value: command.Append(nil, c)}}})
}

func (s *scu) data(context byte, last bool, b []byte) {
	for {
		n := min(len(b), 60000)
		s.send(&pdu.Data{PDVs: []pdu.PDV{{Context: context, Last: last && n == len(b), Value: b[:n]}}})
		if b = b[n:]; len(b) == 0 {
			return
		}
	}
}

func storeRQ(id uint16) command.Command {
	return command.Command{Field: command.StoreRQ, MessageID: id, Class: ecgClass, Instance: ecgUID, HasData: true}
}

// answer reads the next response.
func (s *scu) answer() command.Command {
	s.t.Helper()
	p, ok := s.read().(*pdu.Data)
	if !ok || len(p.PDVs) != 1 || !p.PDVs[0].Command || !p.PDVs[0].Last {
		s.t.Fatalf("got %v, want a response", p)
	}
	c, err := command.Parse(p.PDVs[0].Value)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// aborted reads to the end and fails unless an abort comes on the way.
func (s *scu) aborted(reason byte) {
	s.t.Helper()
	if _, tcp := s.conn.(*net.TCPConn); tcp {
		s.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	}
	for {
		p, err := s.in.Read()
		if err != nil {
			s.t.Fatalf("no abort: %v", err)
		}
		if a, ok := p.(*pdu.Abort); ok {
			if a.Reason != reason {
				s.t.Fatalf("%v, want reason %d", a, reason)
			}
			return
		}
	}
}

func (s *scu) release() error {
	s.send(&pdu.ReleaseRQ{})
	p, err := s.in.Read()
	if _, ok := p.(*pdu.ReleaseRP); !ok {
		return fmt.Errorf("got %v, %v, want a release", p, err)
	}
	s.conn.Close()
	return nil
}
