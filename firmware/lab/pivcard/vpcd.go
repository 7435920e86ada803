package pivcard

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// VPCDPort is where vpcd's first reader waits for its card, as Debian's
// vsmartcard-vpcd is configured. The second reader is one port up.
const VPCDPort = 35963

// Control bytes of vpcd: messages of length one.
const (
	vpcdOff   = 0
	vpcdOn    = 1
	vpcdReset = 2
	vpcdATR   = 4
)

// VPCD plugs a slot into vpcd, the driver of a virtual reader in pcscd. A
// connection is a card: it is made when a card goes in and dropped when it comes
// out. VPCD returns when ctx ends; while pcscd is away it keeps dialing.
func VPCD(ctx context.Context, slot *Slot, dial Dialer) {
	for ctx.Err() == nil {
		card, changed := slot.look()
		if card == nil {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		conn := dialUntil(ctx, dial, changed)
		if conn == nil {
			continue
		}
		here, out := context.WithCancel(ctx)
		stop := context.AfterFunc(here, func() { conn.Close() })
		go func() {
			select {
			case <-changed:
			case <-here.Done():
			}
			out() // card out: hang up
		}()
		// An error here is pcscd going away or the card coming out; either
		// way the loop looks again.
		_ = serveVPCD(here, slot, conn)
		out()
		stop()
		conn.Close()
	}
}

// serveVPCD answers until the connection breaks. Every message has a length of
// two bytes, big endian, before it.
func serveVPCD(ctx context.Context, slot *Slot, conn net.Conn) error {
	for {
		msg, err := readVPCD(conn)
		if err != nil {
			return err
		}
		if len(msg) != 1 {
			if err := writeVPCD(conn, slot.transmit(ctx, msg)); err != nil {
				return err
			}
			continue
		}
		card, _ := slot.look()
		if card == nil {
			return net.ErrClosed
		}
		switch msg[0] {
		case vpcdOff, vpcdOn, vpcdReset:
			card.Reset()
		case vpcdATR:
			if err := writeVPCD(conn, card.ATR()); err != nil {
				return err
			}
		default:
			return fmt.Errorf("vpcd: got control byte %#x, want 0, 1, 2 or 4", msg[0])
		}
	}
}

func readVPCD(conn net.Conn) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	quickAck(conn)
	msg := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(conn, msg)
	quickAck(conn)
	return msg, err
}

func writeVPCD(conn net.Conn, msg []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(msg))), msg...))
	return err
}

// quickAck acknowledges at once what has come. vpcd writes length and body apart
// with Nagle's algorithm on, so a delayed acknowledgement would add 40 ms to each
// command; the kernel forgets the setting, so it is made after every read.
func quickAck(conn net.Conn) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := tcp.SyscallConn(); err == nil {
		// Only speed is lost when this fails.
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 1)
		})
	}
}
