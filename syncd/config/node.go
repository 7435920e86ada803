package config

import (
	"net"
	"net/url"
)

// address checks where a destination is: a URL, or dicom://TITLE@host:port for a
// DICOM node, TITLE being its AE title, or mqtts://host:port/TOPIC for a broker.
func (c *check) address(key, kind, got string) *url.URL {
	switch kind {
	case KindNode:
	case KindMQTT:
		return c.broadcast(key, got)
	default:
		return c.url(key, got)
	}
	u, err := url.Parse(got)
	if err != nil || u.Scheme != "dicom" || u.User == nil || u.Path != "" || u.RawQuery != "" {
		c.bad(key, "got %q, want dicom://TITLE@host:port", got)
		return &url.URL{}
	}
	c.title(key, u.User.Username())
	if host, port, err := net.SplitHostPort(u.Host); err != nil || host == "" || port == "" {
		c.bad(key, "got %q, want dicom://TITLE@host:port", got)
	}
	return u
}
