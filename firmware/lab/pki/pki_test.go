package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
)

func world(t *testing.T) *World {
	t.Helper()
	w, err := New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

var drRuiz = Person{Name: "Ana Ruiz", Registration: "282864711", Profession: Doctor, GUID: [16]byte{1, 2, 3, 4}}

func card(t *testing.T, ca *CA, p Person, slot byte) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := ca.CardCertificate(p, slot, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// OpenSSL is the judge of our certificates: it must find the path with the
// policy, refuse the foreign one, and read the Admission extension.
func TestOpenSSLAgrees(t *testing.T) {
	lab.Require(t, lab.Program("openssl"))
	w := world(t)
	dir := t.TempDir()
	if err := w.WriteAnchors(dir); err != nil {
		t.Fatal(err)
	}
	put := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	root, issuing := put("root.pem", w.Root.PEM()), put("issuing.pem", w.Professionals.PEM())
	noPolicy, err := CardTemplate(drRuiz, SlotAuthentication)
	if err != nil {
		t.Fatal(err)
	}
	noPolicy.Policies = nil
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := w.Professionals.Sign(noPolicy, key.Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		der  []byte
		want string
	}{
		{"own", card(t, w.Professionals, drRuiz, SlotAuthentication), ": OK"},
		{"foreign", card(t, w.Foreign, drRuiz, SlotAuthentication), "unable to get local issuer certificate"},
		{"no policy", bare, "no explicit policy"},
	} {
		leaf := put(c.name+".pem", certPEM(c.der))
		out, _ := exec.Command("openssl", "verify", "-CAfile", root, "-untrusted", issuing,
			"-policy_check", "-policy", PolicyProfessional, "-purpose", "sslclient", leaf).CombinedOutput()
		if !strings.Contains(string(out), c.want) {
			t.Errorf("%s: want %q in:\n%s", c.name, c.want, out)
		}
	}
	text, err := exec.Command("openssl", "x509", "-in", filepath.Join(dir, "own.pem"), "-noout", "-text").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{Doctor, "serialNumber = 282864711", "URI:urn:uuid:01020304-", "TLS Web Client Authentication"} {
		if !bytes.Contains(text, []byte(want)) {
			t.Errorf("openssl x509 -text lacks %q:\n%s", want, text)
		}
	}
}

// A workstation and the gateway meet over TLS with what Write leaves in files.
func TestDevicesMeetOverTLS(t *testing.T) {
	w := world(t)
	dir := t.TempDir()
	server, err := w.Gateway(net.IPv4(10, 20, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	client, err := w.Client("workstation", "ws-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Write(dir, "tls"); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(w.Devices.Cert)
	for _, name := range []string{GatewayName, "10.20.0.1"} {
		a, b := net.Pipe()
		srv := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert})
		cli := tls.Client(b, &tls.Config{Certificates: []tls.Certificate{client.TLS()}, RootCAs: pool, ServerName: name})
		done := make(chan error, 1)
		go func() { done <- srv.Handshake() }()
		if err := cli.Handshake(); err != nil {
			t.Errorf("%s: client: %v", name, err)
		}
		if err := <-done; err != nil {
			t.Errorf("%s: server: %v", name, err)
		}
		if got := srv.ConnectionState().PeerCertificates; len(got) == 0 || got[0].Subject.OrganizationalUnit[0] != "workstation" {
			t.Errorf("%s: peer %v", name, got)
		}
		a.Close()
		b.Close()
	}
	if fi, err := os.Stat(filepath.Join(dir, "tls.key")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("key file %v, %v; want mode 0600", fi.Mode(), err)
	}
}

func TestBadRequests(t *testing.T) {
	if _, err := CardTemplate(drRuiz, 0x82); err == nil {
		t.Error("a certificate for slot 0x82 was described")
	}
	p := drRuiz
	p.Profession = "doctor"
	if _, err := CardTemplate(p, SlotAuthentication); err == nil {
		t.Error("profession \"doctor\" was taken for an object identifier")
	}
}
