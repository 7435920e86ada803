package mqtt

import (
	"errors"
	"strings"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

// says begins the topics under which the gateway itself speaks to devices. What it
// says there names no patient, so any device may hear it.
const says = "clinicgate/"

// Message is something the gateway says.
type Message struct {
	Topic   string // behind "clinicgate/"
	Payload []byte
}

// errSilent is a broker that is not running: nobody hears.
var errSilent = errors.New("mqtt: the broker is not running")

// Say tells a message to whoever has subscribed to it now. Who comes later hears
// what Options.Standing has.
func (s *Server) Say(m Message) error {
	broker := s.broker.Load()
	if broker == nil {
		return errSilent
	}
	return broker.Publish(says+m.Topic, m.Payload, false, 1)
}

// OnSubscribed tells a device that begins to listen how things stand. Others hear
// it once more, which changes nothing for them.
func (h *hook) OnSubscribed(_ *mochi.Client, pk packets.Packet, codes []byte) {
	if h.standing == nil {
		return
	}
	for i, sub := range pk.Filters {
		if !strings.HasPrefix(sub.Filter, says) || i < len(codes) && codes[i] >= packets.ErrUnspecifiedError.Code {
			continue
		}
		for _, m := range h.standing() {
			if err := h.broker.Publish(says+m.Topic, m.Payload, false, 1); err != nil {
				h.log.Warn("mqtt say", "err", err)
			}
		}
		return
	}
}
