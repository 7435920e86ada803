package tunnel

import (
	"encoding/binary"
	"sync"

	"golang.org/x/crypto/blake2s"
	"golang.zx2c4.com/wireguard/device"
)

// once lets each handshake message through once. WireGuard's replay window drops
// copies of data, but nothing drops copies of a handshake that arrive together:
// two of the device's workers then take the same answer at the same time, and the
// keys that come of it fit nobody's until the next handshake, 15 s later. It is
// safe for concurrent use.
type once struct {
	mu   sync.Mutex
	last [8]blake2sSum // the latest, in a ring
	next int
}

type blake2sSum = [blake2s.Size]byte

// again reports whether msg is a handshake message that was here before.
func (o *once) again(msg []byte) bool {
	if len(msg) < 4 {
		return false
	}
	switch kind := binary.LittleEndian.Uint32(msg); {
	case kind == device.MessageInitiationType && len(msg) == device.MessageInitiationSize:
	case kind == device.MessageResponseType && len(msg) == device.MessageResponseSize:
	default:
		return false
	}
	sum := blake2s.Sum256(msg)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.last {
		if s == sum {
			return true
		}
	}
	o.last[o.next] = sum
	o.next = (o.next + 1) % len(o.last)
	return false
}
