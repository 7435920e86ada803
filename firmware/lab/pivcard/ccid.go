package pivcard

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
)

// Message types of libcacard's vscard_common.h, which QEMU's ccid-card-passthru
// speaks over its character device.
const (
	vscInit       = 1
	vscError      = 2
	vscReaderAdd  = 3
	vscATR        = 5
	vscCardRemove = 6
	vscAPDU       = 7
)

const (
	vscMagic   = "VSCD"
	vscVersion = 2       // 0.0.2
	vscMax     = 1 << 16 // bytes of one message's body
	readerName = "clinicgate lab"
)

// CCID plugs a slot into a QEMU guest whose -device ccid-card-passthru has the
// character device that dial reaches (a unix socket with server=on,wait=off).
// CCID returns when ctx ends; while there is no QEMU it keeps dialing, so one
// slot outlives its machine's power cuts. QEMU passes no power cycles on: a card
// in the guest's reader keeps its state when the guest resets it.
func CCID(ctx context.Context, slot *Slot, dial Dialer) {
	for ctx.Err() == nil {
		conn := dialUntil(ctx, dial, nil)
		if conn == nil {
			return
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		_ = serveCCID(ctx, slot, conn) // QEMU went away: dial again
		stop()
		conn.Close()
	}
}

// A vscConn writes whole messages; two goroutines do.
type vscConn struct {
	net.Conn
	mu sync.Mutex
}

// send writes one message: type, reader and length, each four bytes big endian.
func (c *vscConn) send(kind uint32, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	msg := binary.BigEndian.AppendUint32(nil, kind)
	msg = binary.BigEndian.AppendUint32(msg, 0)
	msg = binary.BigEndian.AppendUint32(msg, uint32(len(body)))
	_, err := c.Write(append(msg, body...))
	return err
}

func (c *vscConn) receive() (kind uint32, body []byte, err error) {
	var hdr [12]byte
	if _, err := io.ReadFull(c, hdr[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(hdr[8:])
	if n > vscMax {
		return 0, nil, fmt.Errorf("ccid: got a message of %d bytes, want at most %d", n, vscMax)
	}
	body = make([]byte, n)
	_, err = io.ReadFull(c, body)
	return binary.BigEndian.Uint32(hdr[:]), body, err
}

// serveCCID greets QEMU, then answers commands while another goroutine tells of
// cards going in and out.
func serveCCID(ctx context.Context, slot *Slot, conn net.Conn) error {
	c := &vscConn{Conn: conn}
	hello := binary.BigEndian.AppendUint32([]byte(vscMagic), vscVersion)
	if err := c.send(vscInit, append(hello, 0, 0, 0, 0)); err != nil { // no capabilities
		return err
	}
	if err := c.send(vscReaderAdd, []byte(readerName)); err != nil {
		return err
	}
	here, done := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() {
		defer close(told)
		announce(here, slot, c)
	}()
	defer func() { done(); conn.Close(); <-told }()
	for {
		kind, body, err := c.receive()
		if err != nil {
			return err
		}
		switch kind {
		case vscAPDU:
			if resp := slot.transmit(here, body); resp != nil {
				if err := c.send(vscAPDU, resp); err != nil {
					return err
				}
			}
		case vscInit, vscError: // the greeting, and "success" to what we sent
		default: // nothing a card must answer
		}
	}
}

// announce tells QEMU of each card that comes or goes. It closes the connection
// when it can't.
func announce(ctx context.Context, slot *Slot, c *vscConn) {
	in := false
	for {
		card, changed := slot.look()
		var err error
		if in {
			err = c.send(vscCardRemove, nil)
		}
		if in = card != nil; in && err == nil {
			err = c.send(vscATR, card.ATR())
		}
		if err != nil {
			c.Close()
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}
