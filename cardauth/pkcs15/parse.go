package pkcs15

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"clinicgate/cardauth/proof"
)

// Directories that ODF points to, by their tags (ISO/IEC 7816-15 §8.3).
const (
	dirKeys         = 0
	dirCertificates = 4
	dirPINs         = 8
)

// A directory is one file that ODF points to.
type directory struct {
	kind int
	path []byte
}

// A key is one private key.
type key struct {
	id, auth  []byte // auth: of its PIN; nil: it wants none
	usage     asn1.BitString
	reference byte
}

// A certificate is one and where it lies.
type certificate struct {
	id, path []byte
	read     *x509.Certificate
}

// A pinObject is one PIN.
type pinObject struct {
	id        []byte
	reference byte
	stored    int
	pad       byte
}

// elements splits a run of DER objects; what follows the last one, such as the
// zeros or ones that fill a file, ends it.
func elements(data []byte) (out []asn1.RawValue, err error) {
	for len(data) > 0 && data[0] != 0 && data[0] != 0xFF {
		if len(out) == maxObjects {
			return nil, fmt.Errorf("%w: more than %d objects", errFile, maxObjects)
		}
		var v asn1.RawValue
		if data, err = asn1.Unmarshal(data, &v); err != nil {
			return nil, fmt.Errorf("%w: %w", errFile, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// parseODF reads which directories there are. Other kinds than ours are left out.
func parseODF(data []byte) (out []directory, err error) {
	all, err := elements(data)
	if err != nil {
		return nil, err
	}
	for _, v := range all {
		if v.Class != asn1.ClassContextSpecific || v.Tag != dirKeys && v.Tag != dirCertificates && v.Tag != dirPINs {
			continue
		}
		path, err := pathIn(v.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, directory{v.Tag, path})
	}
	return out, nil
}

// pathIn reads a Path, of which only the path itself counts here.
func pathIn(der []byte) ([]byte, error) {
	var p struct {
		Path []byte
	}
	var raw asn1.RawValue
	if _, err := asn1.Unmarshal(der, &raw); err != nil {
		return nil, fmt.Errorf("%w: path: %w", errFile, err)
	}
	if _, err := asn1.Unmarshal(raw.Bytes, &p.Path); err != nil || raw.Tag != asn1.TagSequence {
		return nil, fmt.Errorf("%w: path %X", errFile, der[:min(len(der), 16)])
	}
	if n := len(p.Path); n < 2 || n > 16 || n%2 != 0 {
		return nil, fmt.Errorf("%w: path of %d bytes, want 2 to 16", errFile, n)
	}
	return p.Path, nil
}

// object is the outer form of every object (§8.2): common attributes, those of its
// class, and in [1] those of its type.
func object(v asn1.RawValue) (common, class, typ []asn1.RawValue, err error) {
	parts, err := elements(v.Bytes)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(parts) < 3 {
		return nil, nil, nil, fmt.Errorf("%w: object of %d parts, want 3 or 4", errFile, len(parts))
	}
	last := parts[len(parts)-1]
	if last.Class != asn1.ClassContextSpecific || last.Tag != 1 {
		return nil, nil, nil, fmt.Errorf("%w: object without the attributes of its type", errFile)
	}
	inner, err := elements(last.Bytes)
	if err != nil || len(inner) != 1 {
		return nil, nil, nil, fmt.Errorf("%w: attributes of a type", errFile)
	}
	if common, err = elements(parts[0].Bytes); err == nil {
		if class, err = elements(parts[1].Bytes); err == nil {
			typ, err = elements(inner[0].Bytes)
		}
	}
	return common, class, typ, err
}

// each takes a directory's objects apart, those that fit, and hands on their parts.
// Those of certificates and PINs begin with an id.
func each(data []byte, fits func(asn1.RawValue) bool, take func(common, class, typ []asn1.RawValue) error) error {
	all, err := elements(data)
	if err != nil {
		return err
	}
	for _, v := range all {
		if !fits(v) {
			continue
		}
		common, class, typ, err := object(v)
		if err == nil {
			err = take(common, class, typ)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isSequence(v asn1.RawValue) bool { return v.Tag == asn1.TagSequence }

// idIn is the id that a class's attributes begin with.
func idIn(class []asn1.RawValue) ([]byte, bool) {
	if len(class) == 0 || class[0].Tag != asn1.TagOctetString {
		return nil, false
	}
	return class[0].Bytes, true
}

// readKeys reads PrKDF (§8.4): RSA keys and, in [0], EC keys.
func (c *Card) readKeys(data []byte) error {
	fits := func(v asn1.RawValue) bool {
		return isSequence(v) || v.Class == asn1.ClassContextSpecific && v.Tag == 0
	}
	return each(data, fits, func(common, class, _ []asn1.RawValue) error {
		var k key
		for _, x := range common {
			if x.Class == asn1.ClassUniversal && x.Tag == asn1.TagOctetString {
				k.auth = x.Bytes
			}
		}
		if err := k.class(class); err != nil {
			return err
		}
		c.keys = append(c.keys, k)
		return nil
	})
}

// class reads the attributes of a key's class: id, usage, and behind optional ones
// its reference.
func (k *key) class(parts []asn1.RawValue) error {
	if len(parts) < 2 || parts[0].Tag != asn1.TagOctetString || parts[1].Tag != asn1.TagBitString {
		return fmt.Errorf("%w: a key without id or usage", errFile)
	}
	k.id = parts[0].Bytes
	if _, err := asn1.Unmarshal(parts[1].FullBytes, &k.usage); err != nil {
		return fmt.Errorf("%w: usage: %w", errFile, err)
	}
	for _, x := range parts[2:] {
		if x.Class == asn1.ClassUniversal && x.Tag == asn1.TagInteger && len(x.Bytes) > 0 {
			k.reference = x.Bytes[len(x.Bytes)-1] // some cards write it as negative
		}
	}
	return nil
}

// readCertificates reads CDF (§8.7).
func (c *Card) readCertificates(data []byte) error {
	return each(data, isSequence, func(_, class, typ []asn1.RawValue) error {
		id, ok := idIn(class)
		if !ok || len(typ) == 0 {
			return fmt.Errorf("%w: a certificate without id or value", errFile)
		}
		path, err := pathIn(typ[0].FullBytes)
		if err != nil {
			return err
		}
		c.certs = append(c.certs, certificate{id: id, path: path})
		return nil
	})
}

// readPINs reads AODF (§8.9).
func (c *Card) readPINs(data []byte) error {
	return each(data, isSequence, func(_, class, typ []asn1.RawValue) error {
		id, ok := idIn(class)
		if !ok || len(typ) < 4 {
			return fmt.Errorf("%w: a PIN without id or attributes", errFile)
		}
		p := pinObject{id: id, pad: 0xFF}
		if _, err := asn1.Unmarshal(typ[3].FullBytes, &p.stored); err != nil {
			return fmt.Errorf("%w: a PIN's length: %w", errFile, err)
		}
		for _, x := range typ[4:] {
			switch {
			case x.Class == asn1.ClassContextSpecific && x.Tag == 0 && len(x.Bytes) > 0:
				p.reference = x.Bytes[len(x.Bytes)-1]
			case x.Class == asn1.ClassUniversal && x.Tag == asn1.TagOctetString && len(x.Bytes) == 1:
				p.pad = x.Bytes[0]
			}
		}
		c.pins = append(c.pins, p)
		return nil
	})
}

// algorithm is what MANAGE SECURITY ENVIRONMENT is told for a kind of key.
func algorithm(k proof.Kind) byte {
	if k == proof.RSA2048 {
		return 0x02 // PKCS #1 v1.5
	}
	return 0x04 // ECDSA
}
