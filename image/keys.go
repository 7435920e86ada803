package main

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"clinicgate/firmware/durable"
)

// secureBootKeys are UEFI's: the platform key owns the others, db signs what starts.
var secureBootKeys = []string{"PK", "KEK", "db"}

// testMark is in the names of keys that anybody may hold.
const testMark = "TEST KEY, not for releases"

func keysCommand(args []string) error {
	set := flag.NewFlagSet("keys", flag.ExitOnError)
	out := set.String("o", "", "`folder` to make")
	name := set.String("name", "", "whose keys they are")
	_ = set.Parse(args)
	if *out == "" || *name == "" || strings.Contains(*name, testMark) {
		return errors.New("want: image keys -o FOLDER -name NAME")
	}
	return makeSecureBootKeys(*out, *name)
}

// makeSecureBootKeys makes a key for each role, with a certificate to enrol
// (ROLE.cer) and the key to sign with (ROLE.pem).
func makeSecureBootKeys(dir, name string) error {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, role := range secureBootKeys {
		key, err := rsa.GenerateKey(rand.Reader, 2048) // what every firmware knows
		if err != nil {
			return fmt.Errorf("make key: %w", err)
		}
		id := sha256.Sum256(key.N.Bytes())
		template := &x509.Certificate{
			SerialNumber: new(big.Int).SetBytes(id[:8]), Subject: pkix.Name{CommonName: name + " " + role},
			// Firmware does not look at the time, and has often none.
			NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2049, 12, 31, 0, 0, 0, 0, time.UTC),
			KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
		}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			return fmt.Errorf("make key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return fmt.Errorf("make key: %w", err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := errors.Join(durable.WriteFile(filepath.Join(dir, role+".cer"), cert, 0o644), durable.WriteFile(filepath.Join(dir, role+".pem"), text, 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// signer is the key that kernel images are signed with, and its certificate. A
// development image is signed with this workstation's own test key; a release must
// be told with whose, and no test key will do.
func (b *builder) signer() (crypto.Signer, *x509.Certificate, error) {
	dir := b.sign
	if dir == "" {
		if b.release {
			return nil, nil, errors.New("a release needs -sign FOLDER: cloud ops' db.pem and db.cer")
		}
		dir = filepath.Join(b.source, "build", "secureboot")
		if _, err := os.Stat(filepath.Join(dir, "db.pem")); errors.Is(err, fs.ErrNotExist) {
			if err := makeSecureBootKeys(dir, "clinicgate "+testMark); err != nil {
				return nil, nil, err
			}
		}
	}
	key, cert, err := readSigner(dir)
	if err != nil {
		return nil, nil, err
	}
	if b.release && strings.Contains(cert.Subject.CommonName, testMark) {
		return nil, nil, fmt.Errorf("%s: got the certificate %q: a release is not signed with a test key", dir, cert.Subject.CommonName)
	}
	return key, cert, nil
}

func readSigner(dir string) (crypto.Signer, *x509.Certificate, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "db.cer"))
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s/db.cer: %w", dir, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "db.pem"))
	if err != nil {
		return nil, nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, nil, fmt.Errorf("read %s/db.pem: got no PEM block, want PRIVATE KEY", dir)
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s/db.pem: %w", dir, err)
	}
	key, ok := any.(*rsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("read %s: db.pem is not the RSA key of db.cer", dir)
	}
	return key, cert, nil
}
