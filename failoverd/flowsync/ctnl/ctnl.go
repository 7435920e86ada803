// Package ctnl reads and writes the kernel's table of connections over netlink. It
// guarantees that NAT is put in place as NAT, and that no change goes unnoticed:
// when the kernel had to drop some, Next says so instead of going on.
package ctnl

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/netfilter"
	"golang.org/x/sys/unix"

	"clinicgate/failoverd/flowsync/flow"
)

// ErrOverrun means that the kernel dropped events: everything is to be listed anew.
var ErrOverrun = errors.New("the kernel dropped conntrack events")

// ErrExists is a Create of an entry that is there already.
var ErrExists = errors.New("the entry exists")

// A Table writes. It belongs to one goroutine.
type Table struct {
	conn *netlink.Conn
	raw  syscall.RawConn // of conn, for what goes in batches
	seq  uint32
	out  []byte
	in   [64 << 10]byte
}

// Open returns a Table of the calling thread's network namespace.
func Open() (*Table, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	return &Table{conn: conn, raw: raw}, nil
}

// Close gives the socket back.
func (t *Table) Close() error { return t.conn.Close() }

func (t *Table) execute(m netlink.Message, err error) error {
	if err == nil {
		_, err = t.conn.Execute(m)
	}
	return err
}

// Create makes an entry; ErrExists when one with its addresses is there.
func (t *Table) Create(f flow.Flow) error {
	err := t.execute(encodeNew(f))
	if errors.Is(err, syscall.EEXIST) {
		return fmt.Errorf("create %v: %w", f.Key, ErrExists)
	}
	return wrap("create", f.Key, err)
}

// Update changes the state of an entry; its NAT stays as it is. One that is gone
// is os.ErrNotExist.
func (t *Table) Update(f flow.Flow) error { return wrap("update", f.Key, t.execute(encodeUpdate(f))) }

// Delete ends an entry. One that is gone is no error.
func (t *Table) Delete(k flow.Key) error {
	err := t.execute(encodeDelete(k))
	if errors.Is(err, syscall.ENOENT) {
		return nil
	}
	return wrap("delete", k, err)
}

func wrap(act string, k flow.Key, err error) error {
	if err != nil {
		return fmt.Errorf("%s %v: %w", act, k, err)
	}
	return nil
}

// A Source reads: events, or one listing.
type Source struct {
	conn  *netlink.Conn
	raw   syscall.RawConn
	marks uint32
	buf   [64 << 10]byte
}

// source returns one; marks says which bits of a connection's mark are passed on.
func source(marks uint32) (*Source, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("open conntrack: %w", err)
	}
	return &Source{conn: conn, raw: raw, marks: marks}, nil
}

// Listen opens the stream of events. buffer is how many bytes of them may wait in
// the kernel.
func Listen(marks uint32, buffer int) (*Source, error) {
	s, err := source(marks)
	if err != nil {
		return nil, err
	}
	err = s.conn.SetReadBuffer(buffer)
	for _, g := range []netfilter.NetlinkGroup{netfilter.GroupCTNew, netfilter.GroupCTUpdate, netfilter.GroupCTDestroy} {
		if err == nil {
			err = s.conn.JoinGroup(uint32(g))
		}
	}
	if err != nil {
		s.conn.Close()
		return nil, fmt.Errorf("listen to conntrack: %w", err)
	}
	return s, nil
}

// Close wakes a reader.
func (s *Source) Close() error { return s.conn.Close() }

// receive takes one datagram: a listing of a hundred thousand entries is never in
// memory at once.
func (s *Source) receive() (b []byte, err error) {
	var n int
	rawErr := s.raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), s.buf[:], unix.MSG_DONTWAIT)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	return s.buf[:max(n, 0)], errors.Join(rawErr, err)
}

// Next waits for events and hands each to take. ErrOverrun is the end.
func (s *Source) Next(take func(Event)) error {
	b, err := s.receive()
	if errors.Is(err, unix.ENOBUFS) {
		return ErrOverrun
	}
	if err != nil {
		return fmt.Errorf("read conntrack events: %w", err)
	}
	_, err = each(b, func(m netlink.Message) error { return s.hand(m, take) })
	return err
}

func (s *Source) hand(m netlink.Message, take func(Event)) error {
	ev, ok, err := decode(m, s.marks)
	if err == nil && ok {
		take(ev)
	}
	return err
}

// List hands every entry that is there to take.
func List(marks uint32, take func(Event)) error {
	s, err := source(marks)
	if err != nil {
		return err
	}
	defer s.Close()
	m, err := message(msgGet, netfilter.ProtoUnspec, netlink.Dump, nil)
	if err != nil {
		return fmt.Errorf("list conntrack: %w", err)
	}
	if _, err := s.conn.Send(m); err != nil {
		return fmt.Errorf("list conntrack: %w", err)
	}
	for {
		b, err := s.receive()
		if err != nil {
			return fmt.Errorf("list conntrack: %w", err)
		}
		done, err := each(b, func(m netlink.Message) error { return s.hand(m, take) })
		if done || err != nil {
			return err
		}
	}
}
