package mqtt

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"unicode"

	"clinicgate/syncd/format"
)

// takes is what may be published under clinic/DEVICE/NAME, by NAME.
func takes(name string) []string {
	switch name {
	case "ecg":
		return []string{format.SCPECG, format.AECG, format.DICOM}
	case "image":
		return []string{format.DICOM}
	case "document":
		return []string{format.PDF}
	}
	return nil
}

// allowed tells which formats device may publish under topic; none: it may not.
// Levels below the name are the device's own business.
func allowed(device, topic string) []string {
	rest, ok := strings.CutPrefix(topic, "clinic/"+device+"/")
	if !ok {
		return nil
	}
	name, _, _ := strings.Cut(rest, "/")
	return takes(name)
}

// mayHear tells whether device may subscribe to filter: its own topics, where
// answers to it will come, and what the gateway says to all.
func mayHear(device, filter string) bool {
	return strings.HasPrefix(filter, "clinic/"+device+"/") || strings.HasPrefix(filter, says)
}

// device is the name of the certificate a connection was opened with.
func device(conn net.Conn) (string, error) {
	secure, ok := conn.(*link)
	if !ok {
		return "", errors.New("not a TLS connection")
	}
	certs := secure.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return "", errors.New("no client certificate")
	}
	name := certs[0].Subject.CommonName
	if name == "" || len(name) > 64 || strings.ContainsAny(name, "/+#$") || strings.ContainsFunc(name, unicode.IsControl) {
		return "", fmt.Errorf("certificate name %.70q, want 1 to 64 characters that fit into a topic", name)
	}
	return name, nil
}
