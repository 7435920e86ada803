// Package capture writes down which packets pass one device, as a pcap file: their
// headers and no content, so many and for so long at most. What it writes can leave
// the clinic.
package capture

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of one capture.
type Limits struct {
	Packets int
	Bytes   int // of the file
	Time    time.Duration
}

// The most that may be asked for.
const (
	MaxPackets = 100_000
	MaxBytes   = 8 << 20
	MaxTime    = 5 * time.Minute
)

// Format of a pcap file (draft-ietf-opsawg-pcap): times in nanoseconds.
const (
	magic     = 0xa1b23c4d
	fileLen   = 24
	recordLen = 16
	linkEther = 1
	linkRaw   = 101 // IP without anything before it, as a tunnel's
	snapLen   = 65535
)

// look is how long a read waits before it looks whether it is wanted still.
const look = 250 * time.Millisecond

// Run writes what passes dev to w until a limit is reached or ctx ends, and returns
// how many packets it was. It needs CAP_NET_RAW.
func Run(ctx context.Context, dev string, l Limits, w io.Writer) (packets int, err error) {
	ifi, err := net.InterfaceByName(dev)
	if err != nil {
		return 0, fmt.Errorf("capture on %s: %w", dev, err)
	}
	ethernet := len(ifi.HardwareAddr) > 0 || ifi.Flags&net.FlagLoopback != 0
	fd, err := open(ifi.Index)
	if err != nil {
		return 0, fmt.Errorf("capture on %s: %w", dev, err)
	}
	defer unix.Close(fd)
	ctx, cancel := context.WithTimeout(ctx, min(l.Time, MaxTime))
	defer cancel()
	left := min(l.Bytes, MaxBytes) - fileLen
	if _, err := w.Write(head(ethernet)); err != nil {
		return 0, err
	}
	frame := make([]byte, snapLen)
	for packets < min(l.Packets, MaxPackets) && ctx.Err() == nil {
		n, _, err := unix.Recvfrom(fd, frame, unix.MSG_TRUNC)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return packets, fmt.Errorf("capture on %s: %w", dev, err)
		}
		r := record(time.Now(), frame[:min(n, len(frame))], n, ethernet)
		if left -= len(r); left < 0 {
			return packets, nil
		}
		if _, err := w.Write(r); err != nil {
			return packets, err
		}
		packets++
	}
	return packets, nil
}

// open makes a socket that sees all that passes a device, in both directions.
func open(index int) (int, error) {
	// Bound to the device before it hears of any protocol: nothing else gets in.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	wait := unix.NsecToTimeval(int64(look))
	all := uint16(unix.ETH_P_ALL)
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all<<8 | all>>8, Ifindex: index}),
	)
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// head begins a file.
func head(ethernet bool) []byte {
	b := binary.LittleEndian.AppendUint32(nil, magic)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, snapLen)
	link := uint32(linkRaw)
	if ethernet {
		link = linkEther
	}
	return binary.LittleEndian.AppendUint32(b, link)
}

// record is one packet: what is kept of it, and how long it was.
func record(at time.Time, frame []byte, length int, ethernet bool) []byte {
	kept := frame[:Keep(frame, ethernet)]
	b := make([]byte, 0, recordLen+len(kept))
	for _, n := range []int64{at.Unix(), int64(at.Nanosecond()), int64(len(kept)), int64(length)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return append(b, kept...)
}
