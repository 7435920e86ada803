package mqtt

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"clinicgate/syncd/mqtt/pending"
)

// QoS 2 is served here and not by the broker, whose memory of packet ids ends with
// its process and which answers 0x91 to an id that is sent again. What a stop
// leaves behind (MQTT 5 §4.3.3, receiver):
//
//	PUBLISH n arrives
//	  taken by the queue   stop here: sent again, taken again, the same item
//	  id kept              stop here: sent again, known, not taken again
//	PUBREC n goes out      stop here: the same, or PUBREL comes
//	PUBREL n arrives
//	  id dropped           stop here: PUBREL comes again for an unknown id
//	PUBCOMP n goes out

// Bounds of a session's ids in flight, by version: MQTT 5 is told so in CONNACK.
const (
	receiveMaximum = 16
	maxInFlight311 = 64
)

// maxClientID is what the store of ids takes; MQTT itself says 23 to 65535.
const maxClientID = 128

// session opens the client's memory of packet ids.
func (h *hook) session(cl *mochi.Client, name string) error {
	if len(cl.ID) > maxClientID {
		return fmt.Errorf("client id of %d bytes, want at most %d", len(cl.ID), maxClientID)
	}
	keep := time.Duration(cl.Properties.Props.SessionExpiryInterval) * time.Second
	if cl.Properties.ProtocolVersion < 5 {
		keep = 0
		if !cl.Properties.Clean {
			keep = pending.Longest
		}
	}
	conn, ok := cl.Net.Conn.(*link)
	if !ok {
		return errors.New("not a TLS connection")
	}
	var err error
	conn.session, err = h.ids.Session(name, cl.ID, keep, cl.Properties.Clean, time.Now())
	return err
}

// OnPacketEncode tells a client in CONNACK that its session outlived a restart of
// the broker, and how long it will. What outlives one are packet ids, not
// subscriptions.
func (h *hook) OnPacketEncode(cl *mochi.Client, pk packets.Packet) packets.Packet {
	conn, ok := cl.Net.Conn.(*link)
	if pk.FixedHeader.Type != packets.Connack || pk.ReasonCode != 0 || !ok || conn.session == nil {
		return pk
	}
	pk.SessionPresent = pk.SessionPresent || conn.session.Len() > 0
	if cl.Properties.ProtocolVersion >= 5 && conn.session.Kept() > 0 {
		pk.Properties.SessionExpiryInterval = uint32(conn.session.Kept() / time.Second)
		pk.Properties.SessionExpiryIntervalFlag = true
	}
	return pk
}

// nothing is what the broker gets in place of a packet that was answered here: an
// acknowledgement it never waited for, which it passes over.
func nothing() packets.Packet {
	return packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}}
}

// once takes a message of QoS 2 and answers PUBREC.
func (h *hook) once(cl *mochi.Client, name string, pk packets.Packet) (packets.Packet, error) {
	if code := pk.PublishValidate(0); code != packets.CodeSuccess {
		return pk, h.close(cl, code)
	}
	session, most := cl.Net.Conn.(*link).session, receiveMaximum
	if cl.Properties.ProtocolVersion < 5 {
		most = maxInFlight311
	}
	mark := markOf(pk)
	if session.Known(pk.PacketID, mark) {
		return h.answer(cl, packets.Pubrec, pk.PacketID, packets.CodeSuccess)
	}
	if !session.Room(pk.PacketID, most) {
		return pk, h.close(cl, packets.ErrReceiveMaximum)
	}
	if !h.OnACLCheck(cl, pk.TopicName, true) { // MQTT 3.1.1 was closed before
		return h.answer(cl, packets.Pubrec, pk.PacketID, packets.ErrNotAuthorized)
	}
	err := h.take(cl, name, pk)
	var code packets.Code
	switch {
	case errors.Is(err, packets.ErrRejectPacket) || !errors.As(err, &code):
		return pk, packets.ErrRejectPacket
	case code.Code >= packets.ErrUnspecifiedError.Code: // ends the exchange, no PUBREL comes
		return h.answer(cl, packets.Pubrec, pk.PacketID, code)
	}
	if err := session.Keep(pk.PacketID, mark, time.Now()); err != nil {
		h.log.Error("mqtt packet id not kept", "device", name, "err", err)
		return pk, h.close(cl, packets.ErrUnspecifiedError)
	}
	return h.answer(cl, packets.Pubrec, pk.PacketID, packets.CodeSuccess)
}

// release answers PUBREL. An id that is not known was released before, as far as
// the device can tell.
func (h *hook) release(cl *mochi.Client, id uint16) (packets.Packet, error) {
	had, err := cl.Net.Conn.(*link).session.Drop(id, time.Now())
	if err != nil {
		h.log.Error("mqtt packet id not released", "err", err)
		return packets.Packet{}, h.close(cl, packets.ErrUnspecifiedError)
	}
	code := packets.CodeSuccess
	if !had && cl.Properties.ProtocolVersion >= 5 {
		code = packets.ErrPacketIdentifierNotFound
	}
	return h.answer(cl, packets.Pubcomp, id, code)
}

// answer sends PUBREC or PUBCOMP and leaves the broker nothing to do.
func (h *hook) answer(cl *mochi.Client, kind byte, id uint16, code packets.Code) (packets.Packet, error) {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id, ReasonCode: code.Code}
	if code.Code >= packets.ErrUnspecifiedError.Code {
		pk.Properties.ReasonString = code.Reason
	}
	if err := cl.WritePacket(pk); err != nil {
		return pk, packets.ErrRejectPacket // the connection is gone
	}
	return nothing(), nil
}

// markOf stands for topic and payload.
func markOf(pk packets.Packet) pending.Mark {
	sum := sha256.New()
	fmt.Fprintf(sum, "%d:%s", len(pk.TopicName), pk.TopicName)
	sum.Write(pk.Payload)
	return pending.Mark(sum.Sum(nil)[:16])
}
