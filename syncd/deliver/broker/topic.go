package broker

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"clinicgate/syncd/format"
	"clinicgate/syncd/queue"
)

// waveforms are the SOP classes of ECGs and their like (PS3.4 annex B).
const waveforms = "1.2.840.10008.5.1.4.1.1.9."

// topic is where a file goes; empty: nowhere.
func topic(prefix string, it queue.Item) string {
	switch {
	case it.Kind == format.SCPECG, it.Kind == format.AECG,
		it.Kind == format.DICOM && strings.HasPrefix(it.Meta[queue.MetaClassUID], waveforms):
		return prefix + "/ecg"
	case it.Kind == format.DICOM:
		return prefix + "/image"
	case it.Kind == format.PDF:
		return prefix + "/document"
	}
	return ""
}

// session is the client id of a file's session: letters and digits, 23 of them,
// which every broker takes (MQTT 5 §3.1.3.1).
func (s *Sender) session(it queue.Item) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d:%s%s", len(s.Site), s.Site, s.Key(it)))
	return "cg" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:21]
}

// answers is the topic of the receiver's answer to a file.
func (s *Sender) answers(session string) string { return s.Prefix + "/receipts/" + session }

// message is the next piece of n bytes, without them.
func (f *file) message(l *link, n int64) *packets.Packet {
	pk := &packets.Packet{
		ProtocolVersion: 5, FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: l.qos}, TopicName: f.topic,
		Properties: packets.Properties{
			ContentType: f.Meta[queue.MetaContentType],
			User:        []packets.UserProperty{{Key: "idempotency-key", Val: f.key}, {Key: "sha256", Val: f.Digest.String()}, {Key: "kind", Val: f.Kind}},
		},
	}
	if ref := f.Meta[queue.MetaPatientRef]; ref != "" {
		pk.Properties.User = append(pk.Properties.User, packets.UserProperty{Key: "patient", Val: ref})
	}
	if f.Receiver {
		pk.Mods.AllowResponseInfo = true
		pk.Properties.ResponseTopic, pk.Properties.CorrelationData = f.answers(f.name), f.Digest[:]
	}
	if n < f.Size {
		pk.TopicName = fmt.Sprintf("%s/chunks/%s/%d/%d", f.topic, f.Digest, f.Size, f.at.From)
	}
	return pk
}
