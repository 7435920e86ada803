package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"clinicgate/firmware/site"
)

// A check collects complaints, so that a person mends a file in one go.
type check struct {
	f    *site.File
	errs []error
}

func (c *check) bad(key, format string, args ...any) {
	c.errs = append(c.errs, c.f.Errorf(key, format, args...))
}

func (c *check) err() error { return errors.Join(c.errs...) }

func (c *check) ehr(in *file, out *Config) {
	if in.EHR == nil {
		c.bad("sync.ehr", "table is missing, want base = the EHR's FHIR R4 URL")
		return
	}
	out.EHR.Base = c.url("sync.ehr.base", in.EHR.Base)
	out.EHR.Timeout = c.duration("sync.ehr.timeout", in.EHR.Timeout, defaultTimeout, 100*time.Millisecond, time.Minute)
	if in.EHR.CA != nil {
		out.EHR.CA = c.fileName("sync.ehr.ca", *in.EHR.CA)
	}
	c.oauth(in.EHR.OAuth, out)
}

func (c *check) cache(in *file, out *Config) {
	out.Cache.Bytes = defaultSizeMB << 20
	if p := in.Cache.SizeMB; p != nil {
		if *p < 64 || *p > 1<<20 {
			c.bad("sync.cache.size_mb", "got %d, want 64 to %d", *p, 1<<20)
		}
		out.Cache.Bytes = *p << 20
	}
	out.Cache.Fresh = c.duration("sync.cache.fresh", in.Cache.Fresh, 0, 0, time.Hour)
	out.Cache.Behind = c.duration("sync.cache.stale_while_revalidate", in.Cache.Behind, 0, 0, time.Hour)
	out.Cache.OnFail = c.duration("sync.cache.stale_if_error", in.Cache.OnFail, 0, 0, 10*365*24*time.Hour)
}

func (c *check) endpoints(in *file, out *Config) {
	if in.DICOM != nil {
		out.DICOM = &DICOM{
			Listen:  c.listen("sync.dicom.listen", in.DICOM.Listen),
			Title:   c.title("sync.dicom.title", in.DICOM.Title),
			Callers: in.DICOM.Callers,
			Peers:   in.DICOM.Peers,
		}
		for t, addr := range in.DICOM.Peers {
			c.title("sync.dicom.peers", t)
			if host, _, _ := net.SplitHostPort(addr); host == "" {
				c.bad("sync.dicom.peers", "got %q for %s, want \"address:port\"", addr, t)
				continue
			}
			c.listen("sync.dicom.peers", addr)
		}
		for _, t := range in.DICOM.Callers {
			c.title("sync.dicom.callers", t)
		}
	}
	if in.MQTT != nil {
		out.MQTT = &MQTT{Listen: c.listen("sync.mqtt.listen", in.MQTT.Listen)}
	}
	if in.HL7 != nil {
		out.HL7 = &HL7{Listen: c.listen("sync.hl7.listen", in.HL7.Listen), Senders: in.HL7.Senders}
		for _, name := range in.HL7.Senders {
			if name == "" || len(name) > 64 || strings.ContainsFunc(name, unicode.IsControl) {
				c.bad("sync.hl7.senders", "got %q, want a sending application (MSH-3), 1 to 64 characters", name)
			}
		}
	}
	if in.Uploads != nil {
		out.Uploads = &Uploads{Devices: in.Uploads.Devices}
		for _, name := range in.Uploads.Devices {
			if name == "" || len(name) > 64 || strings.ContainsFunc(name, unicode.IsControl) {
				c.bad("sync.uploads.devices", "got %q, want the common name of a certificate, 1 to 64 characters", name)
			}
		}
	}
}

// accepted tells whether a destination takes one of formats.
func accepted(out *Config, formats ...string) bool {
	return slices.ContainsFunc(out.Destinations, func(d Destination) bool {
		return slices.ContainsFunc(formats, func(f string) bool { return slices.Contains(d.Accepts, f) })
	})
}

// fileFormats go to a FHIR server as Binary and DocumentReference.
func fileFormats() []string { return []string{FormatSCPECG, FormatAECG, FormatPDF, FormatHL7} }

// formats by kind of destination: what it can carry at all.
func formats(kind string) []string {
	switch kind {
	case KindSTOW:
		return []string{FormatDICOM}
	case KindFHIR:
		return append(fileFormats(), FormatFHIR)
	case KindTus:
		return append(fileFormats(), FormatDICOM)
	case KindMQTT:
		return []string{FormatSCPECG, FormatAECG, FormatPDF, FormatDICOM}
	case KindNode:
		return []string{FormatDICOM}
	}
	return nil
}

func (c *check) destinations(in *file, out *Config) {
	taken := map[string]string{} // format → destination
	for i, d := range in.Destination {
		at := func(key string) string { return fmt.Sprintf("sync.destination[%d].%s", i, key) }
		if !word(d.Name, 32) {
			c.bad(at("name"), "got %q, want 1 to 32 letters, digits, - or _", d.Name)
		}
		if slices.ContainsFunc(out.Destinations, func(o Destination) bool { return o.Name == d.Name }) {
			c.bad(at("name"), "got %q a second time, want each name once", d.Name)
		}
		can := formats(d.Kind)
		if can == nil {
			c.bad(at("kind"), "got %q, want %q, %q, %q, %q or %q", d.Kind, KindSTOW, KindFHIR, KindTus, KindNode, KindMQTT)
		}
		if len(d.Accepts) == 0 {
			c.bad(at("accepts"), "got nothing, want one or more of %q", can)
		}
		for _, format := range d.Accepts {
			if can != nil && !slices.Contains(can, format) {
				c.bad(at("accepts"), "got %q, want one or more of %q for kind %q", format, can, d.Kind)
			}
			if other, ok := taken[format]; ok {
				c.bad(at("accepts"), "%q goes to %q already, want each format at one destination", format, other)
			}
			taken[format] = d.Name
		}
		if d.Auth != "" {
			c.fileName(at("auth"), d.Auth)
		}
		out.Destinations = append(out.Destinations, Destination{
			Name: d.Name, Kind: d.Kind, URL: c.address(at("url"), d.Kind, d.URL), Auth: d.Auth, Accepts: d.Accepts,
			Matched: c.matched(at("patients"), d.Patients, d.Kind), Broker: c.broker(at, d.brokerFile, d.Kind),
		})
	}
}

// contradictions are values that are right alone and wrong together.
func (c *check) contradictions(out *Config) {
	ports := map[string]string{portOf(out.Listen): "sync.listen"}
	claim := func(key, listen string) {
		port := portOf(listen)
		if other, ok := ports[port]; ok && port != "" {
			c.bad(key, "port %s is taken by %s, want another", port, other)
		}
		ports[port] = key
	}
	if out.DICOM != nil {
		claim("sync.dicom.listen", out.DICOM.Listen)
		if !accepted(out, FormatDICOM) {
			c.bad("sync.dicom", "no destination accepts %q, so nothing received could ever leave; add a [[sync.destination]] or drop [sync.dicom]", FormatDICOM)
		}
	}
	if out.MQTT != nil {
		claim("sync.mqtt.listen", out.MQTT.Listen)
		if files := fileFormats(); !accepted(out, files...) {
			c.bad("sync.mqtt", "no destination accepts any of %q, so nothing received could ever leave; add a [[sync.destination]] or drop [sync.mqtt]", files)
		}
	}
	if out.HL7 != nil {
		claim("sync.hl7.listen", out.HL7.Listen)
		if !accepted(out, FormatHL7) {
			c.bad("sync.hl7", "no destination accepts %q, so nothing received could ever leave; add it to a [[sync.destination]] of kind %q or drop [sync.hl7]", FormatHL7, KindFHIR)
		}
	}
	if out.Uploads != nil && len(out.Destinations) == 0 {
		c.bad("sync.uploads", "there is no destination, so nothing received could ever leave; add a [[sync.destination]] or drop [sync.uploads]")
	}
}

func (c *check) listen(key, got string) string {
	host, port, err := net.SplitHostPort(got)
	n, perr := strconv.Atoi(port)
	if err != nil || perr != nil || n < 1 || n > 65535 {
		c.bad(key, "got %q, want \":port\" or \"address:port\"", got)
		return ""
	}
	if host != "" && net.ParseIP(host) == nil {
		c.bad(key, "got host %q, want an IP address or none", host)
	}
	return got
}

func portOf(listen string) string {
	_, port, _ := net.SplitHostPort(listen)
	return port
}

// fileName checks a name in a folder of the box: no path, so that a site file
// can't point outside.
func (c *check) fileName(key, got string) string {
	if got == "" || len(got) > 64 || strings.ContainsAny(got, "/\\\x00") || strings.HasPrefix(got, ".") {
		c.bad(key, "got %q, want a file name without a path", got)
	}
	return got
}

func (c *check) url(key, got string) *url.URL {
	u, err := url.Parse(got)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		c.bad(key, "got %q, want http://host/path or https://host/path", got)
		return &url.URL{}
	case u.User != nil:
		c.bad(key, "has a user or password in it, want them in a file in secrets/syncd/")
	case u.RawQuery != "" || u.Fragment != "":
		c.bad(key, "got %q, want it without ? and #", got)
	}
	u.Path = strings.TrimRight(u.Path, "/")
	u.RawPath = ""
	return u
}

func (c *check) duration(key string, got *site.Duration, def, low, high time.Duration) time.Duration {
	if got == nil {
		return def
	}
	d := time.Duration(*got)
	if d < low || d > high {
		c.bad(key, "got %v, want %v to %v", d, low, high)
	}
	return d
}

// title checks an application entity title: 1 to 16 characters of the default
// repertoire, no backslash, not only spaces (PS3.5 §6.2, AE).
func (c *check) title(key, got string) string {
	bad := func(r rune) bool { return r < ' ' || r > '~' || r == '\\' }
	if strings.TrimSpace(got) == "" || len(got) > 16 || strings.ContainsFunc(got, bad) {
		c.bad(key, "got %q, want an AE title of 1 to 16 characters", got)
	}
	return got
}

func word(s string, most int) bool {
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_')
	}
	return s != "" && len(s) <= most && !strings.ContainsFunc(s, odd)
}
