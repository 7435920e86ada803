// Package train sends and receives many datagrams with one system call, as the
// kernel's segmentation offload allows. What goes in as datagrams comes out as the
// same datagrams, whatever the devices on the way can do.
package train

import (
	"encoding/binary"
	"errors"
	"net"
	"sync/atomic"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
)

// The kernel takes and gives trains: many datagrams of one size, the last perhaps
// smaller, as one buffer with the size beside it (UDP_SEGMENT and UDP_GRO in
// udp(7)). A train crosses the network stack once, which is most of the cost of a
// datagram.
const (
	maxTrain = 64             // datagrams; the kernel's own limit (UDP_MAX_SEGMENTS)
	maxBytes = 1<<16 - 1 - 28 // IPv4 and UDP headers count too
	noteSize = 2              // of the size as we write it; the kernel's has 4, in the same room
)

// A Socket is one open UDP socket. Sending and receiving may go on at
// the same time, each from one goroutine or many.
type Socket struct {
	udp    *net.UDPConn
	pc     *ipv4.PacketConn
	trains atomic.Bool // the device takes them
	joined bool        // the kernel gives them
}

// New takes over an open socket.
func New(udp *net.UDPConn) *Socket {
	s := &Socket{udp: udp, pc: ipv4.NewPacketConn(udp)}
	raw, err := udp.SyscallConn()
	if err != nil {
		return s // the first use of it tells
	}
	_ = raw.Control(func(fd uintptr) { // fails on a closed socket only
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.trains.Store(err == nil)
		s.joined = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	})
	return s
}

// Send sends a batch, as trains where the device takes them. One that refuses a
// train (no checksum offload, or a path narrower than the datagrams, which must be
// cut into fragments) gets single datagrams from then on: slower, not wrong.
func (s *Socket) Send(m *Batch, bufs [][]byte, to *net.UDPAddr) error {
	if s.trains.Load() {
		err := s.write(m.trains(bufs, to))
		if !refused(err) {
			return err
		}
		s.trains.Store(false)
	}
	return s.write(m.singles(bufs, to))
}

func refused(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.EMSGSIZE) || errors.Is(err, unix.EINVAL)
}

func (s *Socket) write(msgs []ipv4.Message) error {
	for len(msgs) > 0 {
		n, err := s.pc.WriteBatch(msgs, 0)
		if err != nil {
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

// A Batch is the memory for sending or receiving once.
type Batch struct {
	msgs  []ipv4.Message
	notes [][]byte // room for a size beside each message
}

// NewBatch makes room for as many datagrams as WireGuard handles at once.
func NewBatch() *Batch {
	b := &Batch{msgs: make([]ipv4.Message, conn.IdealBatchSize)}
	for i := range b.msgs {
		b.msgs[i].Buffers = make([][]byte, 1)
		b.notes = append(b.notes, make([]byte, unix.CmsgSpace(noteSize)))
	}
	return b
}

func (b *Batch) singles(bufs [][]byte, to *net.UDPAddr) []ipv4.Message {
	for i, buf := range bufs {
		m := &b.msgs[i]
		m.Buffers, m.Addr, m.OOB = append(m.Buffers[:0], buf), to, nil
	}
	return b.msgs[:len(bufs)]
}

// trains couples datagrams to the one before. The kernel gathers them from where
// they are: nothing is copied here.
func (b *Batch) trains(bufs [][]byte, to *net.UDPAddr) []ipv4.Message {
	n, length := -1, 0
	var head, last []byte
	for _, buf := range bufs {
		if n >= 0 && len(buf) <= len(head) && len(last) == len(head) && len(buf) > 0 &&
			len(b.msgs[n].Buffers) < maxTrain && length+len(buf) <= maxBytes {
			m := &b.msgs[n]
			m.Buffers = append(m.Buffers, buf)
			m.OOB = b.note(n, len(head))
			last = buf
			length += len(buf)
			continue
		}
		n++
		head, last, length = buf, buf, len(buf)
		m := &b.msgs[n]
		m.Buffers, m.Addr, m.OOB = append(m.Buffers[:0], buf), to, nil
	}
	return b.msgs[:n+1]
}

// note writes the size of a train's cars as a control message (cmsg(3)).
func (b *Batch) note(i, size int) []byte {
	note := b.notes[i]
	clear(note)
	binary.NativeEndian.PutUint64(note, uint64(unix.CmsgLen(noteSize))) // boards are 64 bit
	binary.NativeEndian.PutUint32(note[unix.SizeofPtr:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(note[unix.SizeofPtr+4:], unix.UDP_SEGMENT)
	binary.NativeEndian.PutUint16(note[unix.CmsgLen(0):], uint16(size))
	return note
}

// Receive waits for datagrams and lays one into each of bufs. While the kernel
// joins, it reads into the last ones only: what a train is taken apart into must
// find room before it.
func (s *Socket) Receive(b *Batch, bufs [][]byte, sizes []int) (int, error) {
	first := 0
	if s.joined && len(bufs) >= maxTrain {
		first = len(bufs) - len(bufs)/maxTrain
	}
	for i := first; i < len(bufs); i++ {
		m := &b.msgs[i]
		m.Buffers, m.OOB, m.N, m.NN = append(m.Buffers[:0], bufs[i]), b.notes[i], 0, 0
	}
	n, err := s.pc.ReadBatch(b.msgs[first:len(bufs)], 0)
	if err != nil {
		return 0, err
	}
	return b.split(bufs, sizes, first, first+n), nil
}

// From is the sender of datagram i of what was received last.
func (b *Batch) From(i int) *net.UDPAddr { return b.msgs[i].Addr.(*net.UDPAddr) }

// Close closes the socket, which ends Receive.
func (s *Socket) Close() error { return s.udp.Close() }

// split takes the trains in messages first to end apart, into bufs from 0 on, and
// returns how many datagrams they were. The address of each goes along.
func (b *Batch) split(bufs [][]byte, sizes []int, first, end int) int {
	n := 0
	for i := first; i < end; i++ {
		m := &b.msgs[i]
		rest := bufs[i][:m.N]
		size := carSize(m.OOB[:m.NN])
		if size <= 0 || size > len(rest) {
			size = len(rest)
		}
		// A train is no longer than the room before it, but for a kernel that
		// joins more than its own limit: what finds none is lost, as UDP may.
		for len(rest) > 0 && n <= i {
			car := rest[:min(size, len(rest))]
			rest = rest[len(car):]
			sizes[n] = copy(bufs[n], car)
			b.msgs[n].Addr = m.Addr
			n++
		}
	}
	return n
}

// carSize reads the size of a train's cars; 0: a single datagram.
func carSize(oob []byte) int {
	for len(oob) >= unix.SizeofCmsghdr {
		hdr, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		if hdr.Level == unix.SOL_UDP && hdr.Type == unix.UDP_GRO && len(data) >= 4 {
			return int(binary.NativeEndian.Uint32(data))
		}
		oob = rest
	}
	return 0
}
