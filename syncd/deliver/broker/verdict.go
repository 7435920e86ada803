package broker

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/mochi-mqtt/server/v2/packets"

	"clinicgate/syncd/deliver"
)

// broken is the failure of a connection. One of certificates needs a person.
func broken(what string, err error) error {
	f := &deliver.Failure{Kind: deliver.Unreachable, Reason: what, Err: err}
	var alert *net.OpError
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		f.Kind, f.Reason = deliver.Refusing, "its certificate is not one that we trust"
	case errors.As(err, &alert) && alert.Op == "remote error": // a TLS alert
		f.Kind, f.Reason = deliver.Refusing, "does not take our certificate"
	}
	return f
}

// refusal judges the code of CONNACK or DISCONNECT (MQTT 5 §2.4); nil: none. What
// says who we are or how we speak needs a person; the rest is of this moment.
func refusal(code byte) error {
	if code < packets.ErrUnspecifiedError.Code {
		return nil
	}
	f := &deliver.Failure{Kind: deliver.Unreachable, Reason: said("closes the connection", code)}
	forGood := []packets.Code{
		packets.ErrUnsupportedProtocolVersion, packets.ErrClientIdentifierNotValid, packets.ErrBadUsernameOrPassword,
		packets.ErrNotAuthorized, packets.ErrBanned, packets.ErrBadAuthenticationMethod, packets.ErrQosNotSupported,
	}
	if slices.ContainsFunc(forGood, func(c packets.Code) bool { return c.Code == code }) {
		f.Kind = deliver.Refusing
	}
	return f
}

func said(what string, code byte) string { return fmt.Sprintf("%s, reason code %02X", what, code) }

// verdict judges the code of PUBACK or PUBREC.
func (f *file) verdict(l *link, code byte) error {
	switch code {
	case packets.CodeSuccess.Code:
		return nil
	case packets.CodeNoMatchingSubscribers.Code:
		// The broker throws such a message away, success though it says. The session
		// goes with it, so that the piece is a new message next time.
		l.leave()
		if err := f.note(); err != nil {
			return err
		}
		return &deliver.Failure{Kind: deliver.Unreachable, Reason: "nobody is subscribed to " + f.topic}
	case packets.ErrNotAuthorized.Code, packets.ErrTopicNameInvalid.Code, packets.ErrQosNotSupported.Code:
		return &deliver.Failure{Kind: deliver.Refusing, Reason: said("does not let us publish under "+f.topic, code)}
	case packets.ErrPayloadFormatInvalid.Code, packets.ErrPacketTooLarge.Code:
		return deliver.Refuse("%s", said("does not take the file", code))
	case packets.ErrImplementationSpecificError.Code:
		// A gateway like ours that has forgotten the first pieces (docs/devices.md).
		l.leave()
		f.at = mark{}
		if err := f.note(); err != nil {
			return err
		}
		return &deliver.Failure{Kind: deliver.Troubled, Reason: said("does not take the piece", code)}
	}
	return &deliver.Failure{Kind: deliver.Unreachable, Reason: said("does not take the file now", code)}
}
