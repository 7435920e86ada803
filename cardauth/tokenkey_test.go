package main

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"clinicgate/cardauth/session"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/lab/swtpm"
)

// flaky is a TPM that can be made to fail, or to stop answering.
type flaky struct {
	io.ReadWriter
	broken bool
	stuck  chan struct{} // nil: it answers
}

// Read waits while the TPM is stuck.
func (f *flaky) Read(b []byte) (int, error) {
	if f.stuck != nil {
		<-f.stuck
	}
	return f.ReadWriter.Read(b)
}

// Write fails when broken.
func (f *flaky) Write(b []byte) (int, error) {
	if f.broken {
		return 0, errors.New("no answer")
	}
	return f.ReadWriter.Write(b)
}

func keyringAt(t *testing.T, dir string, device func() (io.ReadWriter, error)) *keyring {
	t.Helper()
	env := &daemon.Env{Secrets: dir, Faults: daemon.NewFaults(slog.New(slog.DiscardHandler)), Log: slog.New(slog.DiscardHandler)}
	k, err := openKeyring(t.Context(), env, "site", device)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The key is the TPM's, the same after a restart; a new one comes in without a
// token in between that can't be checked; a TPM that fails gives way to a file.
func TestTokenKeyInTPM(t *testing.T) {
	chip := &flaky{ReadWriter: swtpm.Start(t, t.TempDir())}
	device := func() (io.ReadWriter, error) { return chip, nil }
	dir := t.TempDir()
	k := keyringAt(t, dir, device)
	now := time.Now()
	first := k.signer.JWKS(now).Keys[0].Kid
	again := keyringAt(t, dir, device)
	if k.State() != "tpm" || again.signer.JWKS(now).Keys[0].Kid != first {
		t.Fatalf("%s; or another key at the second start", k.State())
	}
	again.old[0].Close()
	works := func(at time.Time) {
		t.Helper()
		text, err := k.signer.Issue(session.Session{ID: "s-1"}, at)
		if err == nil {
			_, _, err = k.signer.Check(text, at)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	works(now)
	for range 5 { // more than a TPM holds at once
		now = now.Add(31 * 24 * time.Hour)
		k.look(now)
		works(now)
		works(now.Add(time.Minute))
		if err := k.rotate(now.Add(time.Second)); err == nil {
			t.Error("two new keys in a second")
		}
	}
	if k.State() != "tpm" || k.signer.JWKS(now.Add(time.Hour)).Keys[0].Kid == first {
		t.Errorf("%s; after five months still the first key, or the TPM lost", k.State())
	}
	chip.broken = true
	now = now.Add(time.Hour)
	if _, err := k.signer.Issue(session.Session{ID: "s-1"}, now); err == nil {
		t.Fatal("signed without a TPM")
	}
	k.look(now)
	works(now.Add(11 * time.Second))
	if !strings.HasPrefix(k.State(), "software: ") || !strings.Contains(k.State(), "no answer") {
		t.Errorf("the key is said to be by %q", k.State())
	}
	// It is asked now and then, and signs again when it does.
	now = now.Add(askAgain)
	k.look(now)
	if k.State() == "tpm" {
		t.Error("a broken TPM is said to be back")
	}
	chip.broken = false
	k.look(now.Add(askAgain / 2))
	if k.State() == "tpm" {
		t.Error("the TPM was asked too often")
	}
	now = now.Add(askAgain)
	k.look(now)
	works(now.Add(11 * time.Second))
	if k.State() != "tpm" {
		t.Errorf("the TPM is back, and the key by %q", k.State())
	}
}

func TestTokenKeyWithoutTPM(t *testing.T) {
	k := keyringAt(t, t.TempDir(), func() (io.ReadWriter, error) { return nil, fs.ErrNotExist })
	if k.State() != "software: this box has no TPM" {
		t.Errorf("got %q", k.State())
	}
	now := time.Now()
	first := k.signer.JWKS(now).Keys[0].Kid
	if err := k.rotate(now); err != nil || len(k.signer.JWKS(now).Keys) != 2 || k.signer.JWKS(now.Add(time.Hour)).Keys[0].Kid == first {
		t.Errorf("rotation: %v, %v", err, k.signer.JWKS(now))
	}
}

// A TPM that stops answering: the login that meets it fails once, the next ones are
// signed by a key in a file, and the status says why.
func TestTokenKeyStuckTPM(t *testing.T) {
	chip := &flaky{ReadWriter: swtpm.Start(t, t.TempDir())}
	k := keyringAt(t, t.TempDir(), func() (io.ReadWriter, error) { return chip, nil })
	k.signLimit = 50 * time.Millisecond
	chip.stuck = make(chan struct{})
	defer close(chip.stuck)
	now := time.Now()
	if _, err := k.signer.Issue(session.Session{ID: "s-1"}, now); !errors.Is(err, errSlow) {
		t.Fatalf("got %v, want that the TPM is slow", err)
	}
	if _, err := k.signer.Issue(session.Session{ID: "s-1"}, now.Add(time.Minute)); err != nil {
		t.Errorf("the next one: %v", err)
	}
	if got, want := k.State(), "software: the TPM gives no key: the TPM does not answer in time"; got != want {
		t.Errorf("the key is said to be by %q, want %q", got, want)
	}
}

// A TPM that does not answer from the start does not keep anybody out either.
func TestTokenKeyDeadTPM(t *testing.T) {
	chip := &flaky{ReadWriter: swtpm.Start(t, t.TempDir()), stuck: make(chan struct{})}
	defer close(chip.stuck)
	env := &daemon.Env{Secrets: t.TempDir(), Faults: daemon.NewFaults(slog.New(slog.DiscardHandler)), Log: slog.New(slog.DiscardHandler)}
	k := &keyring{env: env, device: func() (io.ReadWriter, error) { return chip, nil }, makeLimit: 50 * time.Millisecond, signLimit: signLimit}
	if key, err := k.open(false, time.Now()); err != nil || key == nil {
		t.Fatal(err)
	}
	if !strings.Contains(k.State(), "does not answer in time") {
		t.Errorf("the key is said to be by %q", k.State())
	}
}
