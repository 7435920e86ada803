package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"clinicgate/firmware/attest"
	"clinicgate/firmware/plainhttp"
	"clinicgate/firmware/tpm"
)

// quoteLimit is how long the TPM may take over a quote; the question waits no longer.
const quoteLimit = 20 * time.Second

// A witness has the TPM say what runs here, one question at a time.
type witness struct {
	busy sync.Mutex

	mu  sync.Mutex
	key string // fingerprint of the TPM's key, or "none: REASON"
}

// shown is what init.json says: empty while it is not known yet.
func (w *witness) shown() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.key
}

// learn asks for a first quote, which nobody is given, so that status can say the key
// by which cloud ops knows this TPM.
func (w *witness) learn(b *box) {
	e, err := w.quote(attest.Evidence{}, make([]byte, attest.NonceSize))
	key := e.Fingerprint()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		key = "none: this box has no TPM"
	case err != nil:
		key = "none: " + err.Error()
		b.log.Warn("attestation", "err", err)
	}
	if err == nil {
		say("TPM attests as %.8s, kernel image measured as %x", key, e.Value(attest.KernelPCR))
	}
	w.mu.Lock()
	w.key = key
	w.mu.Unlock()
}

var (
	errQuoting = errors.New("another quote is under way")
	errMute    = errors.New("the TPM does not answer in time")
)

// quote is the evidence for a nonce. A TPM that hangs keeps the next one from asking,
// too, and nothing else.
func (w *witness) quote(e attest.Evidence, nonce []byte) (attest.Evidence, error) {
	if !w.busy.TryLock() {
		return e, errQuoting
	}
	type answer struct {
		e   attest.Evidence
		err error
	}
	done := make(chan answer, 1)
	go func() {
		defer w.busy.Unlock()
		e, err := quote(e, nonce)
		done <- answer{e, err}
	}()
	select {
	case a := <-done:
		return a.e, a.err
	case <-time.After(quoteLimit):
		return e, errMute
	}
}

// quote asks the TPM.
func quote(e attest.Evidence, nonce []byte) (attest.Evidence, error) {
	device, err := tpm.Open(tpmNode)
	if err != nil {
		return e, err
	}
	defer device.Close()
	return quoteBy(tpm.NewChip(device), e, nonce)
}

// quoteBy completes what the box says of itself with what its TPM says.
func quoteBy(chip *tpm.Chip, e attest.Evidence, nonce []byte) (attest.Evidence, error) {
	w, err := tpm.NewWitness(chip)
	if err != nil {
		return e, err
	}
	defer w.Close()
	e.V, e.Nonce, e.PCRs = 1, nonce, attest.PCRs()
	if e.Key, err = w.Public().Bytes(); err != nil {
		return e, err
	}
	state, err := chip.ReadState(e.PCRs)
	if err != nil {
		return e, err
	}
	e.Values = state.Values
	if e.Said, e.Signed, err = w.Quote(e.About(), e.PCRs); err != nil {
		return e, err
	}
	return e, e.Verify(nonce) // registers that changed in between
}

// answerAttest serves GET /attest?nonce=HEX.
func (b *box) answerAttest(req plainhttp.Request, answer plainhttp.Answer) {
	nonce, err := hex.DecodeString(req.Query.Get("nonce"))
	if err != nil || len(nonce) != attest.NonceSize {
		fmt.Fprintf(answer(400, text), "nonce: got %q, want %d hex digits\n", req.Query.Get("nonce"), 2*attest.NonceSize)
		return
	}
	e, err := b.witness.quote(attest.Evidence{Board: b.state.Board, Release: b.release, Slot: b.state.Slot}, nonce)
	switch {
	case errors.Is(err, errQuoting):
		fmt.Fprintln(answer(409, text), err)
	case errors.Is(err, fs.ErrNotExist):
		fmt.Fprintln(answer(404, text), "this box has no TPM")
	case err != nil:
		fmt.Fprintln(answer(503, text), err)
	default:
		_ = json.NewEncoder(answer(200, "application/json")).Encode(e) // the client may be gone
	}
}
