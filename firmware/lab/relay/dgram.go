package relay

import (
	"errors"
	"fmt"
	"net"
	"os"
)

// dgram is an end that is a port of a virtual machine: QEMU's
// -netdev dgram,local.type=unix,local.path=THEIRS,remote.type=unix,remote.path=OURS
// sends each frame as one datagram.
type dgram struct {
	conn   *net.UnixConn
	theirs *net.UnixAddr
}

// Dgram listens at the socket path ours for the machine that listens at theirs.
// The machine may come and go; frames for one that isn't there are lost.
func Dgram(ours, theirs string) (End, error) {
	if err := os.Remove(ours); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("machine's port: %w", err) // a crash left it
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: ours, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("machine's port: %w", err)
	}
	// A full burst of TCP must fit, or the relay itself becomes a lossy link.
	conn.SetReadBuffer(4 << 20)
	conn.SetWriteBuffer(4 << 20)
	return &dgram{conn, &net.UnixAddr{Name: theirs, Net: "unixgram"}}, nil
}

func (d *dgram) ReadFrame(buf []byte) (int, error) {
	n, _, err := d.conn.ReadFromUnix(buf)
	return n, err
}

func (d *dgram) WriteFrame(frame []byte) error {
	_, err := d.conn.WriteToUnix(frame, d.theirs)
	return err
}

func (d *dgram) Close() error {
	err := d.conn.Close()
	os.Remove(d.conn.LocalAddr().String())
	return err
}
