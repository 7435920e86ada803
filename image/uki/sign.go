package uki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"

	"github.com/foxboron/go-uefi/authenticode"
	"github.com/foxboron/go-uefi/pkcs7"
)

// Sign returns the image with a signature that UEFI Secure Boot believes when it
// knows cert (Windows Authenticode Portable Executable Signature Format, 1.0). It
// carries no time: the same image, key and certificate give the same bytes.
func Sign(image []byte, key crypto.Signer, cert *x509.Certificate) ([]byte, error) {
	pe, err := authenticode.Parse(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("sign kernel image: %w", err)
	}
	if _, err := pe.Sign(key, cert, pkcs7.NoAttr()); err != nil {
		return nil, fmt.Errorf("sign kernel image: %w", err)
	}
	return pe.Bytes(), nil
}
