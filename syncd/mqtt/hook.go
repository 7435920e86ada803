package mqtt

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/mqtt/pending"
	"clinicgate/syncd/partial"
)

// hook is where the broker asks. Its methods run on the client's own goroutine, so
// a slow disk slows the device that sends and no other.
type hook struct {
	mochi.HookBase
	ctx    context.Context
	broker *mochi.Server
	door   Door
	faults Faults
	ids    *pending.Store
	parts  *partial.Store
	log    *slog.Logger

	standing func() []Message
}

// faultDevice is what a device does against the rules of this endpoint; over with
// its next accepted message.
const faultDevice = "mqtt.device"

// maxKeepalive stays under where the broker's 16-bit arithmetic overflows.
const maxKeepalive = 43000

// ID names the hook to the broker.
func (h *hook) ID() string { return "clinicgate" }

// Provides says which questions are ours.
func (h *hook) Provides(b byte) bool {
	return slices.Contains([]byte{mochi.OnConnect, mochi.OnConnectAuthenticate, mochi.OnACLCheck, mochi.OnPacketRead, mochi.OnPublish, mochi.OnPacketEncode, mochi.OnSubscribed}, b)
}

// OnConnect binds the session to the certificate. A will is dropped: it is
// published when nobody is left to take a refusal.
func (h *hook) OnConnect(cl *mochi.Client, _ packets.Packet) error {
	name, err := device(cl.Net.Conn)
	if err == nil {
		err = h.session(cl, name)
	}
	if err != nil {
		h.log.Warn("mqtt connect", "peer", cl.Net.Remote, "err", err)
		return err
	}
	cl.ID = name + "/" + cl.ID
	cl.Properties.Will = mochi.Will{}
	cl.State.Keepalive = min(cl.State.Keepalive, maxKeepalive)
	return nil
}

// OnConnectAuthenticate lets in who passed the handshake: the certificate is the
// password.
func (h *hook) OnConnectAuthenticate(cl *mochi.Client, _ packets.Packet) bool {
	_, err := device(cl.Net.Conn)
	return err == nil
}

// OnACLCheck keeps a device to its own topics. On MQTT 5 the broker answers 0x87.
func (h *hook) OnACLCheck(cl *mochi.Client, topic string, write bool) bool {
	name, err := device(cl.Net.Conn)
	if err != nil {
		return false
	}
	if !write {
		return mayHear(name, topic)
	}
	if allowed(name, topic) != nil {
		return true
	}
	h.raise(name, "published under a topic that is not its own")
	return false
}

// OnPacketRead judges what the broker would pass over or answer wrongly.
func (h *hook) OnPacketRead(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	switch pk.FixedHeader.Type {
	case packets.Publish:
	case packets.Pubrel:
		return h.release(cl, pk.PacketID)
	default:
		return pk, nil
	}
	name, err := device(cl.Net.Conn)
	switch {
	case err != nil:
		return pk, h.close(cl, packets.ErrNotAuthorized)
	case pk.FixedHeader.Qos == 0:
		h.raise(name, "published with QoS 0; only QoS 1 and 2 tell a device that its recording is safe")
		return pk, h.close(cl, packets.ErrQosNotSupported)
	case !mochi.IsValidFilter(pk.TopicName, true): // passed over by the broker; the device would wait for ever
		return pk, h.close(cl, packets.ErrTopicNameInvalid)
	case cl.Properties.ProtocolVersion < 5 && allowed(name, pk.TopicName) == nil:
		// MQTT 3.1.1 has no way to refuse but to close (§3.3.5).
		h.raise(name, "published under a topic that is not its own")
		return pk, h.close(cl, packets.ErrNotAuthorized)
	case pk.FixedHeader.Qos == 2:
		return h.once(cl, name, pk)
	}
	return pk, nil
}

// OnPublish takes a message of QoS 1. The broker sends the PUBACK, or does not.
func (h *hook) OnPublish(cl *mochi.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil // ours
	}
	name, err := device(cl.Net.Conn)
	if err != nil {
		return pk, h.close(cl, packets.ErrNotAuthorized)
	}
	return pk, h.take(cl, name, pk)
}

// take makes a message durable. Every return says what becomes of the ack:
//
//	CodeSuccessIgnore  success; nothing is passed on to subscribers
//	a Code             an ack with that code, MQTT 5 only; the device must not send again
//	ErrRejectPacket    no ack, and the client is closed; the device sends again
func (h *hook) take(cl *mochi.Client, name string, pk packets.Packet) error {
	began := time.Now()
	from := ingest.Source{Origin: name, Via: "mqtt", Takes: allowed(name, pk.TopicName)}
	if topic, levels, ok := chunkLevels(pk.TopicName); ok {
		return h.piece(cl, from, topic, levels, pk.Payload)
	}
	receipt, err := h.door.File(h.ctx, from, pk.Payload)
	var refusal *ingest.Refusal
	if errors.As(err, &refusal) && refusal.Permanent() {
		if cl.Properties.ProtocolVersion >= 5 {
			h.log.Warn("mqtt refused", "device", name, "err", err)
			return packets.Code{Code: packets.ErrPayloadFormatInvalid.Code, Reason: refusal.What}
		}
		// The device can't understand a refusal and would send it for ever.
		if receipt, err = h.door.Hold(h.ctx, from, pk.Payload, refusal); err == nil {
			h.log.Warn("mqtt held", "device", name, "item", receipt.ID.String(), "why", refusal.What)
			return packets.CodeSuccessIgnore
		}
	}
	if err != nil {
		h.log.Warn("mqtt not accepted", "device", name, "err", err)
		return h.close(cl, closing(refusal))
	}
	h.faults.Clear(faultDevice, name)
	h.log.Info("mqtt stored", "device", name, "item", receipt.ID.String(), "bytes", receipt.Size, "ms", time.Since(began).Milliseconds())
	return packets.CodeSuccessIgnore
}

// closing is the reason a device is told when its message was not kept.
func closing(r *ingest.Refusal) packets.Code {
	if r != nil && r.Reason == ingest.Full {
		return packets.ErrQuotaExceeded
	}
	return packets.ErrUnspecifiedError
}

// close ends a client without an ack. MQTT 3.1.1 has no DISCONNECT from a server.
func (h *hook) close(cl *mochi.Client, code packets.Code) error {
	if cl.Properties.ProtocolVersion >= 5 {
		_ = h.broker.DisconnectClient(cl, code) // it gives the code back, or a write error of a client that is closed now
	}
	cl.Stop(code)
	return packets.ErrRejectPacket
}

func (h *hook) raise(device, what string) {
	h.faults.Raise(wire.Fault{
		ID: faultDevice, Severity: wire.Warning, Where: device, What: what,
		Do: "set the device to QoS 1 or 2 and to a topic clinic/" + device + "/ecg, /image or /document",
	})
}
