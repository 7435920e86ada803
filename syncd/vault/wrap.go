package vault

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"clinicgate/firmware/tpm"
)

// chipLimit is how long a TPM may take over its part of an opening.
const chipLimit = 30 * time.Second

// A wrap says where the private key is that everything else is sealed to: in the
// TPM, derived from the salt and bound to a state, or here.
type wrap struct {
	By      string    `json:"by"` // byTPM or byFile
	Salt    []byte    `json:"salt,omitempty"`
	State   tpm.State `json:"state,omitzero"`
	Private []byte    `json:"private,omitempty"`
}

const (
	byTPM  = "tpm"
	byFile = "file"
)

// A key opens what was sealed to point; close lets the TPM forget it.
type key struct {
	hpke.PrivateKey
	point []byte
	close func()
}

// A chip opens the TPM: fs.ErrNotExist says that the board has none.
type chip func() (io.ReadWriteCloser, error)

// newWrap makes a key in the TPM, bound to what its registers say now, or in
// software if there is no TPM, or none that works; why says so.
func newWrap(open chip, unbound string, pcrs []int) (w wrap, k *key, why string, err error) {
	salt := make([]byte, tpm.SaltSize)
	rand.Read(salt)
	if unbound != "" {
		open = nil
	}
	w, k, err = bindWrap(open, salt, pcrs)
	switch {
	case err == nil:
		return w, k, "", nil
	case unbound != "":
		why = unbound
	case errors.Is(err, fs.ErrNotExist):
		why = "this box has no TPM"
	default:
		why = "the TPM gives no key: " + err.Error()
	}
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return wrap{}, nil, "", err
	}
	w = wrap{By: byFile, Private: private.Bytes()}
	k, err = fileKey(private)
	return w, k, why, err
}

// bindWrap makes the key of that salt in the TPM, bound to what its registers say
// now, and has it open something: a TPM that can't is found out before anything is
// sealed to it.
func bindWrap(open chip, salt []byte, pcrs []int) (wrap, *key, error) {
	if open == nil {
		return wrap{}, nil, fs.ErrNotExist
	}
	device, err := open()
	if err != nil {
		return wrap{}, nil, err
	}
	w := wrap{By: byTPM, Salt: salt}
	k, err := within(func() (*key, error) {
		c := tpm.NewChip(device)
		if w.State, err = c.ReadState(pcrs); err != nil {
			return nil, err
		}
		k, err := chipKey(c, device, w)
		if err != nil {
			return nil, err
		}
		return k, k.try()
	})
	if err != nil {
		device.Close()
	}
	return w, k, err
}

// open returns the key that the file names.
func (w wrap) open(open chip) (*key, error) {
	if w.By == byFile {
		private, err := ecdh.P256().NewPrivateKey(w.Private)
		if err != nil {
			return nil, fmt.Errorf("the wrapping key is damaged: %w", err)
		}
		return fileKey(private)
	}
	if open == nil {
		return nil, errors.New("the keys are wrapped to a TPM, and this box has none")
	}
	device, err := open()
	if err != nil {
		return nil, fmt.Errorf("the keys are wrapped to the TPM: %w", err)
	}
	k, err := within(func() (*key, error) { return chipKey(tpm.NewChip(device), device, w) })
	if err != nil {
		device.Close()
	}
	return k, err
}

// moved names the registers that no longer say what the key is bound to.
func (w wrap) moved(open chip) []int {
	device, err := open()
	if err != nil {
		return nil
	}
	defer device.Close()
	now, err := within(func() (tpm.State, error) { return tpm.NewChip(device).ReadState(w.State.PCRs) })
	if err != nil {
		return nil
	}
	return w.State.Differ(now)
}

func (w wrap) check() error {
	if w.By != byTPM && w.By != byFile {
		return fmt.Errorf("got a wrapping key by %q, want %q or %q", w.By, byTPM, byFile)
	}
	return nil
}

func fileKey(private *ecdh.PrivateKey) (*key, error) {
	p, err := hpke.NewDHKEMPrivateKey(private)
	return &key{p, private.PublicKey().Bytes(), func() {}}, err
}

func chipKey(c *tpm.Chip, device io.Closer, w wrap) (*key, error) {
	x, err := tpm.NewExchange(c, w.Salt, w.State)
	if err != nil {
		return nil, err
	}
	p, err := hpke.NewDHKEMPrivateKey(x)
	return &key{p, x.PublicKey().Bytes(), func() { x.Close(); device.Close() }}, err
}

// try seals something and opens it.
func (k *key) try() error {
	sealed, err := sealTo(k.point, "trial", nil)
	if err == nil {
		_, err = k.open("trial", sealed)
	}
	return err
}

// open opens what was sealed to the key for one purpose.
func (k *key) open(purpose string, sealed []byte) ([]byte, error) {
	return within(func() ([]byte, error) {
		return hpke.Open(k, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("clinicgate vault "+purpose), sealed)
	})
}

// sealTo seals to a point of P-256.
func sealTo(point []byte, purpose string, text []byte) ([]byte, error) {
	public, err := ecdh.P256().NewPublicKey(point)
	if err != nil {
		return nil, err
	}
	to, err := hpke.NewDHKEMPublicKey(public)
	if err != nil {
		return nil, err
	}
	return hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), []byte("clinicgate vault "+purpose), text)
}

// within does what a TPM may take for ever over.
func within[T any](do func() (T, error)) (T, error) {
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
	case <-time.After(chipLimit):
		var none T
		return none, errors.New("the TPM does not answer in time")
	}
}
