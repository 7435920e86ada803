package tunnel

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"testing"

	"golang.zx2c4.com/wireguard/device"
)

func message(kind uint32, size int, n byte) []byte {
	msg := make([]byte, size)
	binary.LittleEndian.PutUint32(msg, kind)
	msg[size-1] = n
	return msg
}

func TestOnce(t *testing.T) {
	var o once
	for _, c := range []struct {
		name string
		msg  []byte
		want bool
	}{
		{"an answer", message(device.MessageResponseType, device.MessageResponseSize, 1), false},
		{"its copy", message(device.MessageResponseType, device.MessageResponseSize, 1), true},
		{"another answer", message(device.MessageResponseType, device.MessageResponseSize, 2), false},
		{"a call", message(device.MessageInitiationType, device.MessageInitiationSize, 1), false},
		{"its copy", message(device.MessageInitiationType, device.MessageInitiationSize, 1), true},
		{"data", message(device.MessageTransportType, 92, 1), false},
		{"a copy of data, which is the window's", message(device.MessageTransportType, 92, 1), false},
		{"of the wrong size", message(device.MessageResponseType, 93, 1), false},
		{"nothing", nil, false},
	} {
		if got := o.again(c.msg); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Copies that arrive together: one goes through.
func TestOnceTogether(t *testing.T) {
	for range 200 {
		var o once
		var through atomic.Int32
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if !o.again(message(device.MessageResponseType, device.MessageResponseSize, 7)) {
					through.Add(1)
				}
			})
		}
		if wg.Wait(); through.Load() != 1 {
			t.Fatalf("%d copies of one answer went through", through.Load())
		}
	}
}
