package config

import (
	"net"
	"net/url"
	"strings"
	"unicode"
)

// Broker is what a destination over MQTT has besides.
type Broker struct {
	Certificate string // files in secrets/syncd/ without .crt and .key: we, to the broker
	Anchor      string // file in site/anchors: CA of the broker's certificate
	// Receiver: the receiver's answer is the proof of delivery. A broker takes over
	// what nobody is subscribed to as well, and may throw it away.
	Receiver bool
}

// brokerFile is Broker as written.
type brokerFile struct {
	Certificate string `toml:"certificate"`
	Anchor      string `toml:"anchor"`
	Confirm     string `toml:"confirm"`
}

// Whose word is proof.
const (
	confirmBroker   = "broker"
	confirmReceiver = "receiver"
)

// broker checks the keys of a destination over MQTT, and that no other has them.
func (c *check) broker(at func(string) string, in brokerFile, kind string) Broker {
	if kind != KindMQTT {
		for key, got := range map[string]string{"certificate": in.Certificate, "anchor": in.Anchor, "confirm": in.Confirm} {
			if got != "" {
				c.bad(at(key), "got %q, want it at a destination of kind %q only", got, KindMQTT)
			}
		}
		return Broker{}
	}
	c.fileName(at("anchor"), in.Anchor)
	if c.fileName(at("certificate"), in.Certificate); in.Certificate == "tls" {
		c.bad(at("certificate"), "got %q, which is this box's own on the LAN, want another", in.Certificate)
	}
	if in.Confirm != "" && in.Confirm != confirmBroker && in.Confirm != confirmReceiver {
		c.bad(at("confirm"), "got %q, want %q or %q", in.Confirm, confirmBroker, confirmReceiver)
	}
	return Broker{Certificate: in.Certificate, Anchor: in.Anchor, Receiver: in.Confirm != confirmBroker}
}

// broadcast checks a broker's address and the topic that all messages are under.
func (c *check) broadcast(key, got string) *url.URL {
	const want = "mqtts://host:port/TOPIC, the topic that files are published under"
	u, err := url.Parse(got)
	if err != nil || u.Scheme != "mqtts" || u.RawQuery != "" || u.Fragment != "" {
		c.bad(key, "got %q, want %s", got, want)
		return &url.URL{}
	}
	if u.User != nil {
		c.bad(key, "has a user or password in it, want them in a file in secrets/syncd/")
	}
	if host, port, err := net.SplitHostPort(u.Host); err != nil || host == "" || port == "" {
		c.bad(key, "got %q, want %s", got, want)
	}
	topic := strings.Trim(u.Path, "/")
	if topic == "" || len(topic) > 256 || strings.ContainsAny(topic, "+#$") || strings.ContainsFunc(topic, unicode.IsControl) {
		c.bad(key, "got the topic %q, want 1 to 256 characters without +, # and $", topic)
	}
	u.Path = "/" + topic
	return u
}
