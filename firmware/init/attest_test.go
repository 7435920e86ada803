package main

import (
	"bytes"
	"crypto/rand"
	"testing"
	"time"

	"clinicgate/firmware/attest"
	"clinicgate/firmware/lab/swtpm"
	"clinicgate/firmware/tpm"
)

// What the box answers a nonce with passes as evidence of what it says it runs, with
// the same key after a restart.
func TestQuote(t *testing.T) {
	chip := tpm.NewChip(swtpm.Start(t, t.TempDir()))
	var keys []string
	for range 4 { // a TPM has room for three keys: each is forgotten
		nonce := make([]byte, attest.NonceSize)
		rand.Read(nonce)
		e, err := quoteBy(chip, attest.Evidence{Board: "qemu-x86_64", Release: "1.2.3", Slot: "a"}, nonce)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Verify(nonce); err != nil || e.Release != "1.2.3" || e.Slot != "a" || e.Board != "qemu-x86_64" {
			t.Errorf("got %+v, %v", e, err)
		}
		keys = append(keys, e.Fingerprint())
	}
	if keys[0] != keys[3] {
		t.Error("the TPM's key changed")
	}
	e, err := quoteBy(tpm.NewChip(swtpm.Start(t, t.TempDir())), attest.Evidence{}, make([]byte, attest.NonceSize))
	if err != nil || e.Fingerprint() == keys[0] {
		t.Errorf("another TPM has the same key, %v", err)
	}
}

// One question at a time, and a TPM that hangs keeps no one else waiting.
func TestQuoteOneAtATime(t *testing.T) {
	w := &witness{}
	w.busy.Lock() // one that hangs
	done := make(chan error, 1)
	go func() {
		_, err := w.quote(attest.Evidence{}, bytes.Repeat([]byte{1}, attest.NonceSize))
		done <- err
	}()
	select {
	case err := <-done:
		if err != errQuoting {
			t.Errorf("got %v, want %v", err, errQuoting)
		}
	case <-time.After(30 * time.Second):
		t.Error("the second question waits")
	}
}
