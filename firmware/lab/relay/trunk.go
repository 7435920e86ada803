package relay

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
)

// A Trunk is the far side of a port that sends frames with IEEE 802.1Q tags, for a
// host whose kernel knows none: each VLAN of it is an end without tags.
type Trunk struct {
	port  End
	mu    sync.Mutex
	vlans map[int]chan []byte
	done  chan struct{}
	once  sync.Once
}

// etherVLAN is the type of a tagged frame; the tag follows the two addresses.
const (
	etherVLAN = 0x8100
	addresses = 12
	tag       = 4
)

// NewTrunk takes port over. Close closes it.
func NewTrunk(port End) *Trunk {
	t := &Trunk{port: port, vlans: map[int]chan []byte{}, done: make(chan struct{})}
	go t.sort()
	return t
}

// Close ends all VLANs.
func (t *Trunk) Close() error {
	t.once.Do(func() { close(t.done) })
	return t.port.Close()
}

// VLAN returns the end of one VLAN, 0: of the frames without a tag.
func (t *Trunk) VLAN(id int) End {
	frames := make(chan []byte, 256)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.vlans[id] = frames
	return &vlan{t, id, frames}
}

// sort hands out what comes in; frames of VLANs nobody has are lost.
func (t *Trunk) sort() {
	buf := make([]byte, maxFrame)
	for {
		n, err := t.port.ReadFrame(buf)
		if err != nil {
			t.once.Do(func() { close(t.done) })
			return
		}
		id, frame := untag(buf[:n])
		t.mu.Lock()
		to := t.vlans[id]
		t.mu.Unlock()
		select {
		case to <- frame:
		default: // full, or nobody's
		}
	}
}

// untag returns a frame's VLAN and a copy of it without the tag.
func untag(frame []byte) (int, []byte) {
	if len(frame) < addresses+tag+2 || binary.BigEndian.Uint16(frame[addresses:]) != etherVLAN {
		return 0, append([]byte(nil), frame...)
	}
	id := binary.BigEndian.Uint16(frame[addresses+2:]) & 0xfff
	return int(id), append(append([]byte(nil), frame[:addresses]...), frame[addresses+tag:]...)
}

func tagged(frame []byte, id int) []byte {
	if id == 0 || len(frame) < addresses {
		return frame
	}
	out := append([]byte(nil), frame[:addresses]...)
	out = binary.BigEndian.AppendUint16(out, etherVLAN)
	out = binary.BigEndian.AppendUint16(out, uint16(id))
	return append(out, frame[addresses:]...)
}

// vlan is an end of a trunk.
type vlan struct {
	trunk  *Trunk
	id     int
	frames chan []byte
}

func (v *vlan) ReadFrame(buf []byte) (int, error) {
	select {
	case f := <-v.frames:
		if len(f) > len(buf) {
			return 0, io.ErrShortBuffer
		}
		return copy(buf, f), nil
	case <-v.trunk.done:
		return 0, net.ErrClosed
	}
}

func (v *vlan) WriteFrame(frame []byte) error { return v.trunk.port.WriteFrame(tagged(frame, v.id)) }

// Close leaves the trunk to its other VLANs.
func (v *vlan) Close() error {
	v.trunk.mu.Lock()
	defer v.trunk.mu.Unlock()
	if v.trunk.vlans[v.id] != v.frames {
		return errors.New("this VLAN's end was closed before")
	}
	delete(v.trunk.vlans, v.id)
	return nil
}
