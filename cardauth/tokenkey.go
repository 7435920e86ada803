package main

import (
	"context"
	"crypto"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"clinicgate/cardauth/token"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/tpm"
	"clinicgate/firmware/wire"
)

const faultTokenKey = "card.token-key"

// A keyring keeps the key that tokens are signed with: in the TPM where there is
// one that works, else in a file. It brings in a new one every month, when asked
// to, and at once when the TPM fails.
type keyring struct {
	env    *daemon.Env
	device func() (io.ReadWriter, error) // the TPM
	signer *token.Signer

	makeLimit, signLimit time.Duration

	mu     sync.Mutex
	chip   *tpm.Chip  // nil: none in use
	old    []*tpm.Key // that signed, the last of them still may
	made   time.Time  // when the key in use was
	next   time.Time  // before it no new key is brought in: the last two are in use
	state  string     // "tpm", or "software: REASON"
	failed error      // of the TPM, while signing
	asked  time.Time  // when a TPM that gave no key, or failed, was asked last whether it does now
}

// openTPM opens the TPM through the kernel's resource manager.
func openTPM() (io.ReadWriter, error) { return tpm.Open(tpmDevice) }

// openKeyring opens the key, trying until it can: without it nobody can log in,
// but everything else should say how it is.
func openKeyring(ctx context.Context, env *daemon.Env, site string, device func() (io.ReadWriter, error)) (*keyring, error) {
	k := &keyring{env: env, device: device, makeLimit: makeLimit, signLimit: signLimit}
	for {
		key, err := k.open(false, time.Now())
		if err == nil {
			k.signer, err = token.New(key, site)
		}
		if err == nil {
			env.Faults.Clear(faultTokenKey, "token.key")
			return k, nil
		}
		env.Faults.Raise(wire.Fault{ID: faultTokenKey, Severity: wire.Alarm, Where: "token.key", What: err.Error(),
			Do: "nobody can log in; see that the secrets folder can be written, then wait"})
		if err := env.Publish(wire.CardFile, &wire.Card{}); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(retry):
		}
	}
}

// open returns the key of the TPM or, if that can't be had, of the file; a fresh
// one if asked for.
func (k *keyring) open(fresh bool, now time.Time) (crypto.Signer, error) {
	key, made, err := k.inChip(fresh, now)
	if err == nil {
		k.set(made, "tpm")
		return key, nil
	}
	why := "software: the TPM gives no key: " + plain(err)
	if errors.Is(err, fs.ErrNotExist) {
		why = "software: this box has no TPM"
	} else {
		k.env.Log.Warn("token key", "err", err)
	}
	path := filepath.Join(k.env.Secrets, "token.key")
	open := token.OpenKey
	if fresh {
		open = token.RenewKey
	}
	if key, err = open(path); err != nil {
		return nil, err
	}
	made = now
	if info, err := os.Stat(path); err == nil {
		made = info.ModTime()
	}
	k.set(made, why)
	return key, nil
}

func (k *keyring) set(made time.Time, state string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.made, k.state = made, state
}

// How long the TPM may take over a key and over a signature. Some need a second for
// one; with one that needs more nobody would wait at the desk.
const (
	makeLimit = 30 * time.Second
	signLimit = 10 * time.Second
)

var errSlow = errors.New("the TPM does not answer in time")

// within does what may take for ever, in its own time then.
func within[T any](limit time.Duration, do func() (T, error)) (T, error) {
	type result struct {
		got T
		err error
	}
	done := make(chan result, 1)
	go func() {
		got, err := do()
		done <- result{got, err}
	}()
	select {
	case r := <-done:
		return r.got, r.err
	case <-time.After(limit):
		var none T
		return none, errSlow
	}
}

// inChip returns the key of the TPM. One that does not come in time counts as failed.
func (k *keyring) inChip(fresh bool, now time.Time) (crypto.Signer, time.Time, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.failed != nil {
		return nil, time.Time{}, k.failed
	}
	if k.chip == nil {
		chip, err := k.device()
		if err != nil {
			return nil, time.Time{}, err
		}
		k.chip = tpm.NewChip(chip)
	}
	for len(k.old) > 1 { // a TPM has room for few at once
		k.old[0].Close()
		k.old = k.old[1:]
	}
	return token.OpenChipKey(filepath.Join(k.env.Secrets, "token.tpm"), fresh, now, func(salt []byte) (crypto.Signer, error) {
		key, err := within(k.makeLimit, func() (*tpm.Key, error) { return tpm.NewKey(k.chip, salt) })
		if errors.Is(err, errSlow) {
			k.failed = err
		}
		if err != nil {
			return nil, err
		}
		k.old = append(k.old, key)
		return &watched{key, k}, nil
	})
}

// watched is a key of the TPM that says when it fails.
type watched struct {
	crypto.Signer
	ring *keyring
}

// Sign signs. After an error the TPM is asked no more, and another key is brought in.
func (w *watched) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if err := w.ring.broken(); err != nil {
		return nil, err
	}
	sig, err := within(w.ring.signLimit, func() ([]byte, error) { return w.Signer.Sign(random, digest, o) })
	if err != nil {
		w.ring.mu.Lock()
		w.ring.failed = err
		w.ring.mu.Unlock()
		w.ring.look(time.Now())
	}
	return sig, err
}

func (k *keyring) broken() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// State says where the key is, for people.
func (k *keyring) State() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state
}

// look brings a new key in when the old one is due, or gone with the TPM, or when a
// TPM is back.
func (k *keyring) look(now time.Time) {
	k.mu.Lock()
	gone := k.failed != nil && k.state == "tpm"
	due := now.Sub(k.made) > token.RotateAfter
	k.mu.Unlock()
	if back := k.comesBack(now); !gone && !due && !back {
		return
	}
	if err := k.rotate(now); err != nil {
		k.env.Log.Error("new token key", "err", err)
	}
}

// askAgain is how often a TPM that gave no key is asked once more.
const askAgain = 5 * time.Minute

// comesBack says whether there is a TPM now that makes keys and signs, where there
// was none. All of it is tried before anybody waits for it.
func (k *keyring) comesBack(now time.Time) bool {
	k.mu.Lock()
	due := k.state != "tpm" && now.Sub(k.asked) >= askAgain
	var old []*tpm.Key
	if due {
		k.asked, old = now, slices.Clone(k.old)
	}
	k.mu.Unlock()
	if !due {
		return false
	}
	// They would take the room of new ones. A TPM that hangs forgets them later.
	_, _ = within(k.signLimit, func() (bool, error) {
		for _, key := range old {
			key.Close()
		}
		return true, nil
	})
	device, err := k.device()
	if err != nil {
		return false
	}
	chip := tpm.NewChip(device)
	if _, err := within(k.makeLimit, func() (bool, error) { return true, chip.Try() }); err != nil {
		if c, ok := device.(io.Closer); ok {
			_ = c.Close() // it was of no use
		}
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed, k.chip, k.old = nil, chip, nil
	return true
}

// rotate brings a new key in. Sessions go on, and tokens of the old one are good
// until they expire.
func (k *keyring) rotate(now time.Time) error {
	k.mu.Lock()
	early := now.Before(k.next)
	k.mu.Unlock()
	if early && k.broken() == nil {
		return errors.New("a new key was brought in less than two minutes ago")
	}
	key, err := k.open(true, now)
	if err != nil {
		return err
	}
	from, err := k.signer.Rotate(key, now)
	if err == nil {
		k.mu.Lock()
		k.next = now.Add(2 * token.Lifetime)
		k.mu.Unlock()
		k.env.Log.Info("new token key", "by", k.State(), "from", from)
	}
	return err
}

// take serves POST /token/rotate on the control socket.
func (k *keyring) take(mux *http.ServeMux, changed func()) {
	mux.HandleFunc("POST /token/rotate", func(w http.ResponseWriter, _ *http.Request) {
		if err := k.rotate(time.Now()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		changed()
		reply(w, http.StatusOK, map[string]string{"key": k.State()})
	})
}
