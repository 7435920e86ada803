package uki

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/lab"
)

func signer(t *testing.T, name string) (*rsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<32, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// signed is a kernel image with a signature. An image's length is a multiple of its
// file alignment, as Append leaves it.
func signed(t *testing.T) ([]byte, *x509.Certificate) {
	t.Helper()
	image, err := Append(load(t), Section{".cmdline", []byte("quiet")}, Section{".linux", bytes.Repeat([]byte("kernel"), 5000)})
	if err != nil {
		t.Fatal(err)
	}
	key, cert := signer(t, "ours")
	out, err := Sign(image, key, cert)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Sign(image, key, cert)
	if err != nil || !bytes.Equal(out, again) {
		t.Errorf("signed again, it is another: %v", err)
	}
	return out, cert
}

// sbverify is the judge.
func TestSbverify(t *testing.T) {
	lab.Require(t, lab.Program("sbverify"))
	image, cert := signed(t)
	dir := t.TempDir()
	pemFile := filepath.Join(dir, "cert.pem")
	if err := os.WriteFile(pemFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	altered := bytes.Clone(image)
	altered[bytes.Index(altered, []byte("kernelkernel"))] ^= 1
	for name, c := range map[string]struct {
		image []byte
		good  bool
	}{"signed": {image, true}, "altered": {altered, false}, "unsigned": {load(t), false}} {
		path := filepath.Join(dir, "image.efi")
		if err := os.WriteFile(path, c.image, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("sbverify", "--cert", pemFile, path).CombinedOutput()
		if (err == nil) != c.good {
			t.Errorf("%s: got %v: %s", name, err, out)
		}
	}
}
