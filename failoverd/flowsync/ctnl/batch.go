package ctnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"clinicgate/failoverd/flowsync/flow"
)

// CreateAll makes entries by one call to the kernel: at a join a hundred thousand of
// them come at once. What became of each is in its place, as Create would say it.
func (t *Table) CreateAll(fs []flow.Flow) []error {
	failed := make([]error, len(fs))
	if len(fs) == 0 {
		return failed
	}
	first := t.seq + 1
	t.seq += uint32(len(fs))
	b := t.out[:0]
	for i, f := range fs {
		m, err := encodeNew(f)
		if err != nil {
			return all(failed, err)
		}
		if i < len(fs)-1 { // the last one's answer says that all are done; others answer if they fail
			m.Header.Flags &^= netlink.Acknowledge
		}
		b = appendMessage(b, m, first+uint32(i))
	}
	t.out = b
	if err := t.send(b); err != nil {
		return all(failed, fmt.Errorf("create connections: %w", err))
	}
	for {
		done, err := t.answers(func(seq uint32, no syscall.Errno) {
			if i := seq - first; i < uint32(len(fs)) && no != 0 {
				failed[i] = refusal(fs[i].Key, no)
			}
		}, t.seq)
		if err != nil {
			return all(failed, fmt.Errorf("create connections: %w", err))
		}
		if done {
			return failed
		}
	}
}

func refusal(k flow.Key, no syscall.Errno) error {
	if no == syscall.EEXIST {
		return fmt.Errorf("create %v: %w", k, ErrExists)
	}
	return fmt.Errorf("create %v: %w", k, no)
}

// all says of every entry that it is not known to be there.
func all(failed []error, err error) []error {
	for i := range failed {
		failed[i] = err
	}
	return failed
}

// appendMessage adds a message as it goes through the socket, padded to four bytes.
func appendMessage(b []byte, m netlink.Message, seq uint32) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(syscall.NLMSG_HDRLEN+len(m.Data)))
	b = binary.NativeEndian.AppendUint16(b, uint16(m.Header.Type))
	b = binary.NativeEndian.AppendUint16(b, uint16(m.Header.Flags))
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // from: the kernel knows
	b = append(b, m.Data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func (t *Table) send(b []byte) (err error) {
	rawErr := t.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		return err != unix.EAGAIN && err != unix.EINTR
	})
	return errors.Join(rawErr, err)
}

// answers reads one datagram of them; done: the one numbered last was among them.
func (t *Table) answers(take func(seq uint32, no syscall.Errno), last uint32) (done bool, err error) {
	var n int
	rawErr := t.raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), t.in[:], unix.MSG_DONTWAIT)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	if err := errors.Join(rawErr, err); err != nil {
		return false, err
	}
	for b := t.in[:n]; len(b) >= syscall.NLMSG_HDRLEN; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < syscall.NLMSG_HDRLEN || size > len(b) {
			return false, fmt.Errorf("netlink answer: got length %d in %d bytes", size, len(b))
		}
		if kind, seq := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]); kind == uint16(netlink.Error) && size >= syscall.NLMSG_HDRLEN+4 {
			take(seq, syscall.Errno(-int32(binary.NativeEndian.Uint32(b[syscall.NLMSG_HDRLEN:]))))
			done = done || seq == last
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return done, nil
}
