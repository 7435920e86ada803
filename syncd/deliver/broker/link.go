package broker

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"clinicgate/syncd/deliver"
)

// Figures of a connection.
const (
	silence     = 30 * time.Second // for the broker's next answer, and for ours to be taken
	patience    = 20 * time.Second // for the receiver's answer
	maxPacket   = 64 << 10         // read
	keepalive   = 300              // seconds; an attempt is hardly ever silent for longer
	kept        = 7 * 24 * 3600    // seconds that the broker is asked to keep a session
	overhead    = 4 << 10          // of a message over its piece, at most
	smallest    = 4 << 10          // piece that is worth it
	subscribeID = 65535            // packet id beside those of pieces
)

// A link is one connection, with the session of one file.
type link struct {
	conn    net.Conn
	in      *bufio.Reader
	present bool  // the broker had kept the session
	qos     byte  // the best the broker offers: 1 or 2
	piece   int64 // what it takes in one message

	answers  string // topic of the receiver's answer
	want     string // the answer
	answered bool
}

// connect opens the file's session; clean: anew.
func (f *file) connect(ctx context.Context, clean bool) (*link, error) {
	conf, err := f.TLS()
	if err != nil {
		return nil, &deliver.Failure{Kind: deliver.Refusing, Reason: "our certificate for the broker: " + err.Error()}
	}
	conn, err := (&tls.Dialer{NetDialer: deliver.Dialer(), Config: conf}).DialContext(ctx, "tcp", f.Addr)
	if err != nil {
		return nil, broken("no connection to "+f.Addr, err)
	}
	l := &link{conn: conn, in: bufio.NewReader(conn), answers: f.answers(f.name), want: f.Digest.String()}
	pk := &packets.Packet{
		ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Connect},
		Connect:    packets.ConnectParams{ProtocolName: []byte("MQTT"), ClientIdentifier: f.name, Clean: clean, Keepalive: keepalive},
		Properties: packets.Properties{SessionExpiryInterval: kept, SessionExpiryIntervalFlag: true, ReceiveMaximum: 8, MaximumPacketSize: maxPacket},
	}
	if f.User != "" {
		pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte(f.User)
		pk.Connect.PasswordFlag, pk.Connect.Password = true, []byte(f.Password)
	}
	// With TLS 1.3 a broker's word on our certificate comes behind the handshake. It is
	// read even if CONNECT can't be written any more.
	sent := l.send(pk.ConnectEncode)
	if err = l.welcome(); err != nil || sent != nil {
		conn.Close()
		return nil, cmp.Or(err, sent)
	}
	return l, nil
}

// welcome reads CONNACK and what the broker can do.
func (l *link) welcome() error {
	pk, err := l.await(packets.Connack, 0)
	if f := (*deliver.Failure)(nil); errors.As(err, &f) && f.Kind == deliver.Unreachable {
		f.Reason += " to our greeting; does it know our certificate?"
	}
	if err != nil {
		return err
	}
	if err := refusal(pk.ReasonCode); err != nil {
		return err
	}
	l.present, l.qos, l.piece = pk.SessionPresent, 2, Piece
	if pk.Properties.MaximumQosFlag {
		l.qos = pk.Properties.MaximumQos
	}
	for most := int64(pk.Properties.MaximumPacketSize); most > 0 && l.piece+overhead > most; {
		l.piece /= 2
	}
	if l.qos == 0 || l.piece < smallest {
		return &deliver.Failure{Kind: deliver.Refusing, Reason: fmt.Sprintf("offers QoS %d and messages of %d bytes", l.qos, pk.Properties.MaximumPacketSize)}
	}
	return nil
}

// listen subscribes to the receiver's answer. One that came while nobody was there
// comes before the subscription is acknowledged.
func (l *link) listen() error {
	pk := &packets.Packet{
		ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: subscribeID,
		Filters: packets.Subscriptions{{Filter: l.answers, Qos: 1}},
	}
	if err := l.send(pk.SubscribeEncode); err != nil {
		return err
	}
	ack, err := l.await(packets.Suback, subscribeID)
	if err != nil {
		return err
	}
	if len(ack.ReasonCodes) != 1 || ack.ReasonCodes[0] >= packets.ErrUnspecifiedError.Code {
		return &deliver.Failure{Kind: deliver.Refusing, Reason: "does not let us hear the receiver's answers, under .../receipts/"}
	}
	return nil
}

// wait waits for the receiver's answer. A file whose answer does not come keeps its
// session, and the answer waits there.
func (l *link) wait() error {
	l.conn.SetReadDeadline(time.Now().Add(patience))
	for !l.answered {
		pk, err := l.read()
		if err == nil {
			err = l.hear(pk)
		}
		if err != nil {
			return &deliver.Failure{Kind: deliver.Pending, Reason: "the broker has it, the receiver has not answered", Err: err}
		}
	}
	return nil
}

// leave ends the session: the file is there.
func (l *link) leave() {
	pk := &packets.Packet{
		ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Disconnect},
		Properties: packets.Properties{SessionExpiryIntervalFlag: true},
	}
	_ = l.send(pk.DisconnectEncode) // else it ends by itself
}

// release lets the broker pass on the message of an id that it has taken (QoS 2).
func (l *link) release(id uint16) error {
	pk := &packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: id}
	if err := l.send(pk.PubrelEncode); err != nil {
		return err
	}
	_, err := l.await(packets.Pubcomp, id) // 0x92, unknown: it was released before
	return err
}

func (l *link) send(encode func(*bytes.Buffer) error) error {
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		return fmt.Errorf("write packet: %w", err)
	}
	return l.write(b.Bytes())
}

func (l *link) write(b []byte) error {
	l.conn.SetWriteDeadline(time.Now().Add(silence))
	if _, err := l.conn.Write(b); err != nil {
		return broken("the connection broke", err)
	}
	return nil
}

// publish sends a message with n bytes of from behind its head, as they are read:
// urgent files pass between two reads.
func (l *link) publish(pk *packets.Packet, from io.Reader, n int64) error {
	var whole bytes.Buffer
	if err := pk.PublishEncode(&whole); err != nil {
		return fmt.Errorf("write packet: %w", err)
	}
	var head bytes.Buffer
	body := whole.Bytes()[whole.Len()-pk.FixedHeader.Remaining:]
	pk.FixedHeader.Remaining += int(n)
	pk.FixedHeader.Encode(&head)
	if err := l.write(append(head.Bytes(), body...)); err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	for n > 0 {
		m, err := from.Read(buf[:min(n, int64(len(buf)))])
		if n -= int64(m); m > 0 {
			if err := l.write(buf[:m]); err != nil {
				return err
			}
		}
		if err != nil && n > 0 {
			return fmt.Errorf("read item: %w", err)
		}
	}
	return nil
}

// await reads until the answer of this kind and id. What else comes is heard.
func (l *link) await(kind byte, id uint16) (*packets.Packet, error) {
	l.conn.SetReadDeadline(time.Now().Add(silence))
	for {
		pk, err := l.read()
		if err != nil {
			return nil, broken("no answer", err)
		}
		if pk.FixedHeader.Type == kind && pk.PacketID == id {
			return pk, nil
		}
		if err := l.hear(pk); err != nil {
			return nil, err
		}
	}
}

// hear takes what was not asked for: the receiver's answer, or the broker's end.
func (l *link) hear(pk *packets.Packet) error {
	switch pk.FixedHeader.Type {
	case packets.Disconnect:
		if err := refusal(pk.ReasonCode); err != nil {
			return err
		}
		return broken("closes the connection", nil)
	case packets.Publish:
		if pk.TopicName == l.answers && strings.EqualFold(strings.TrimSpace(string(pk.Payload)), l.want) {
			l.answered = true
		}
		if pk.FixedHeader.Qos == 1 {
			ack := &packets.Packet{ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: pk.PacketID}
			return l.send(ack.PubackEncode)
		}
	}
	return nil
}

// read reads one packet.
func (l *link) read() (*packets.Packet, error) { return read(l.in) }

func read(in *bufio.Reader) (*packets.Packet, error) {
	first, err := in.ReadByte()
	if err != nil {
		return nil, err
	}
	pk := &packets.Packet{ProtocolVersion: 5}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return nil, err
	}
	n, _, err := packets.DecodeLength(in)
	if err != nil {
		return nil, err
	}
	if n > maxPacket {
		return nil, fmt.Errorf("a packet of %d bytes, want at most %d", n, maxPacket)
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(in, body); err != nil {
		return nil, err
	}
	pk.FixedHeader.Remaining = n
	return pk, decode(pk, body)
}

// decode reads the packets that a broker sends.
func decode(pk *packets.Packet, body []byte) error {
	switch pk.FixedHeader.Type {
	case packets.Connack:
		if len(body) == 2 && body[1] != 0 { // as MQTT 3.1.1 refuses
			pk.ReasonCode = packets.ErrUnsupportedProtocolVersion.Code
			return nil
		}
		return pk.ConnackDecode(body)
	case packets.Publish:
		return pk.PublishDecode(body)
	case packets.Puback:
		return pk.PubackDecode(body)
	case packets.Pubrec:
		return pk.PubrecDecode(body)
	case packets.Pubcomp:
		return pk.PubcompDecode(body)
	case packets.Suback:
		return pk.SubackDecode(body)
	case packets.Disconnect:
		return pk.DisconnectDecode(body)
	}
	return fmt.Errorf("a packet of type %d", pk.FixedHeader.Type)
}
