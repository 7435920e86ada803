// Package vault seals what syncd stores, so that a stolen disk or an exchanged
// file gives nothing away. Its one guarantee: Open returns only what Seal was
// given in the same domain for the same identity, unchanged.
//
// Data is grouped in domains. A domain's keys come from the trusted third party by
// deed (package deed): new ones come into use while the old ones still open, until
// the third party has them shredded. Before its first deed, and on a box without a
// third party, a domain has one key of the box's own. All of it lies in keys.json,
// sealed to a key in the TPM that works in one measured state alone; without a TPM
// the key is a file, and State says so. A deed is good until the time in it: a box
// that was not in touch with the third party for so long opens nothing.
//
// From a key HKDF makes those in use. An object is XChaCha20-Poly1305 with a random
// 192-bit nonce, and the key's number, the domain and the object's identity as
// associated data: sealed objects can't be swapped for one another.
package vault

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/floor"
	"clinicgate/firmware/tpm"
	"clinicgate/syncd/vault/deed"
)

// Domains that syncd keeps its own data in. A name with a slash is another site's.
const (
	Cache    = "ehr-cache"
	Audit    = "audit"
	Uploads  = "uploads"
	Devices  = "devices"
	Consults = "consults"
	Edits    = "edits"
)

// Local lists them.
func Local() []string { return []string{Cache, Audit, Uploads, Devices, Consults, Edits} }

// ErrLocked wraps why a domain's keys are here and may not be used.
var ErrLocked = errors.New("vault: locked")

// Options of a vault. Only Dir is required.
type Options struct {
	Dir     string                             // where keys.json is
	TPM     func() (io.ReadWriteCloser, error) // fs.ErrNotExist: there is none; nil: none is asked
	Unbound string                             // why new keys are not wrapped to the TPM; empty: they are
	PCRs    []int                              // registers the keys are bound to; none: Secure Boot's
	Site    string                             // code, for the domains' full names
	Box     string                             // name that the third party knows this box by
	Trustee Trustee                            // nil: there is none
	Shared  []string                           // other sites' domains to ask for, SITE/NAME
	Now     func() time.Time                   // nil: the clock
}

// pcrSecureBoot measures which keys may sign what boots (TCG PC Client Platform
// Firmware Profile, §3.3.4.8): any release signed for this box keeps it as it is.
const pcrSecureBoot = 7

// A Vault gives out domains. Safe for concurrent use.
type Vault struct {
	o     Options
	fresh bool
	why   string // the keys are not in a TPM
	moved []int  // registers that the keys were bound to in another state

	mu      sync.Mutex
	kept    *kept
	kek     []byte
	point   []byte // what deeds are sealed to
	all     map[string]*contents
	domains map[string]*Domain
	floor   *floor.Floor
}

// Open opens the vault in dir as a box without TPM and third party does.
func Open(dir string) (*Vault, error) { return New(Options{Dir: dir}) }

// New opens the vault, or makes its keys, durably, at the first start.
func New(o Options) (*Vault, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.PCRs) == 0 {
		o.PCRs = []int{pcrSecureBoot}
	}
	v := &Vault{o: o, all: map[string]*contents{}, domains: map[string]*Domain{}}
	var err error
	if v.kept, err = readKept(o.Dir); err != nil {
		return nil, err
	}
	v.openFloor()
	if v.kept == nil {
		err = v.begin()
	} else {
		err = v.unseal()
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// begin makes keys.json, with the keys of an earlier release if there are any.
//
//	stop before keys.json: as before; the next start begins again
//	stop before the earlier release's key is removed: the next start removes it
func (v *Vault) begin() error {
	old, err := readLegacy(v.o.Dir)
	if err != nil {
		return err
	}
	if err := durable.MkdirAll(v.o.Dir, 0o700); err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	w, k, why, err := newWrap(v.o.TPM, v.o.Unbound, v.o.PCRs)
	if err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	defer k.close()
	v.kept, v.point, v.why, v.fresh = &kept{V: 1, Wrap: w}, k.point, why, old == nil
	if v.kek, v.kept.Key, err = newKEK(k.point); err != nil {
		return fmt.Errorf("make keys: %w", err)
	}
	if old == nil {
		return v.save()
	}
	for _, name := range Local() {
		key := old.domainKey(name)
		v.all[name] = &contents{Own: &key}
	}
	if err := v.save(); err != nil {
		return err
	}
	return shredLegacy(v.o.Dir)
}

// unseal opens keys.json.
func (v *Vault) unseal() error {
	k, err := v.kept.Wrap.open(v.o.TPM)
	if err == nil {
		defer k.close()
		v.point = k.point
		v.kek, v.all, err = v.kept.unseal(k)
	}
	if errors.Is(err, tpm.ErrState) {
		return v.elsewhere(err)
	}
	if err != nil {
		return fmt.Errorf("open vault: %s: %w", filepath.Join(v.o.Dir, keysFile), err)
	}
	if v.kept.Wrap.By == byFile {
		v.why = "the keys are a file"
		if err := v.intoTPM(); err != nil {
			return err
		}
	}
	return v.retireLegacy()
}

// retireLegacy removes an earlier release's key that was taken over before.
func (v *Vault) retireLegacy() error {
	old, err := readLegacy(v.o.Dir)
	if err != nil || old == nil {
		return err
	}
	for _, name := range Local() {
		if c := v.all[name]; c != nil && c.Own != nil && *c.Own != old.domainKey(name) {
			return fmt.Errorf("open vault: got both %s and another box's %s in %s; remove the one that is not this box's", keysFile, legacyFile, v.o.Dir)
		}
	}
	return shredLegacy(v.o.Dir)
}

// intoTPM wraps keys that were in a file to a TPM that is there now. Not where the
// third party knows the file's key: it would refuse the other one.
func (v *Vault) intoTPM() error {
	for _, c := range v.all {
		if c.Deed != nil {
			return nil
		}
	}
	w, k, why, err := newWrap(v.o.TPM, v.o.Unbound, v.o.PCRs)
	if err != nil {
		return fmt.Errorf("open vault: %w", err)
	}
	defer k.close()
	if w.By != byTPM {
		v.why = why
		return nil
	}
	before := *v.kept
	v.kept.Wrap = w
	if v.kek, v.kept.Key, err = newKEK(k.point); err == nil {
		err = v.save()
	}
	if err != nil {
		v.kept = &before
		return err
	}
	v.point, v.why = k.point, ""
	return nil
}

// elsewhere is a box whose registers say another thing than the keys are bound to.
// What the keys are wrapped to now is derived from the same salt in the new state;
// once the third party knows that key, its deeds bring everything back.
func (v *Vault) elsewhere(cause error) error {
	v.moved = v.kept.Wrap.moved(v.o.TPM)
	if v.o.Trustee == nil || len(v.kept.Spare) == 0 {
		return fmt.Errorf("open vault: register %v of the TPM: %w; undo what was changed in the firmware's settings", v.moved, cause)
	}
	w, k, err := bindWrap(v.o.TPM, v.kept.Wrap.Salt, v.o.PCRs)
	if err != nil {
		return fmt.Errorf("open vault: %w", err)
	}
	defer k.close()
	// With the settings as they were, the old file would open again.
	if err := durable.WriteJSON(filepath.Join(v.o.Dir, beforeFile), v.kept, 0o600); err != nil {
		return fmt.Errorf("open vault: %w", err)
	}
	spare := v.kept.Spare
	v.point, v.kept, v.all = k.point, &kept{V: 1, Wrap: w, Spare: spare}, map[string]*contents{}
	v.kek, v.kept.Key, err = newKEK(k.point)
	return err
}

// save writes keys.json. The caller holds v.mu, or nobody else has v yet.
func (v *Vault) save() error {
	for name, c := range v.all { // what was spared before stays until there is better
		if c.Own == nil || c.Deed == nil || c.Deed.May != deed.Write {
			continue
		}
		r := newRing(c)
		if r.err != nil {
			return r.err
		}
		d := &Domain{name: short(name)}
		d.ring.Store(r)
		if v.kept.Spare == nil {
			v.kept.Spare = map[string][]byte{}
		}
		v.kept.Spare[name] = d.Seal(nil, c.Own[:], spareID)
	}
	if err := v.kept.seal(v.kek, v.all); err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	if err := durable.WriteJSON(filepath.Join(v.o.Dir, keysFile), v.kept, 0o600); err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return nil
}

var spareID = []byte("the box's own key")

// short is a domain's name without its site.
func short(name string) string {
	if _, s, ok := strings.Cut(name, "/"); ok {
		return s
	}
	return name
}

// full is the name that the third party knows a domain by.
func (v *Vault) full(name string) string {
	if strings.Contains(name, "/") {
		return name
	}
	return deed.Name(v.o.Site, name)
}

// State says where the keys are, for people: "tpm", or "software: REASON".
func (v *Vault) State() string {
	if v.why == "" {
		return "tpm"
	}
	return "software: " + v.why
}

// Fresh reports that the keys were made by this New: whatever was sealed before
// can't be read, so an owner that finds old data raises an alarm.
func (v *Vault) Fresh() bool { return v.fresh }

// Fingerprint names the key that deeds are sealed to, as the third party has it.
func (v *Vault) Fingerprint() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return Fingerprint(v.point)
}

// Fingerprint names a key.
func Fingerprint(point []byte) string {
	sum := sha256.Sum256(point)
	return hex.EncodeToString(sum[:])
}

// Domain returns the domain of that name. If its keys can't be had, sealing and
// opening fail until they can: nothing is ever kept unsealed instead. A domain of
// this site that has none yet gets a key of the box's own.
func (v *Vault) Domain(name string) *Domain {
	v.mu.Lock()
	defer v.mu.Unlock()
	if d := v.domains[name]; d != nil {
		return d
	}
	d := &Domain{name: short(name)}
	r, err := v.ring(name)
	if err != nil {
		d.ring.Store(&ring{err: fmt.Errorf("vault: domain %q: %w", name, err)})
		return d
	}
	d.ring.Store(r)
	v.domains[name] = d
	return d
}

// ring returns the keys of a domain, having made the first one.
func (v *Vault) ring(name string) (*ring, error) {
	if err := v.locked(name); err != nil {
		return nil, err
	}
	c := v.all[name]
	if c == nil || c.Own == nil && c.Deed == nil {
		if strings.Contains(name, "/") {
			return nil, errors.New("the third party has given no deed for it")
		}
		if len(v.moved) > 0 || v.kept.Spare[name] != nil {
			return nil, v.elseErr()
		}
		var key [32]byte
		rand.Read(key[:])
		c = &contents{Own: &key}
		v.all[name] = c
		if err := v.save(); err != nil {
			delete(v.all, name)
			return nil, err
		}
	}
	r := newRing(c)
	return r, r.err
}

func (v *Vault) elseErr() error {
	return fmt.Errorf("%w: register %v of the TPM is not in the state the keys were bound to; undo what was changed in the firmware's settings, or have the third party enrol key %s",
		ErrLocked, v.moved, Fingerprint(v.point))
}

// locked says why the keys of a domain may not be used now.
func (v *Vault) locked(name string) error {
	c := v.all[name]
	switch now := v.now(); {
	case c == nil:
		return nil
	case c.Denied != "":
		return fmt.Errorf("%w: the third party refuses: %s", ErrLocked, c.Denied)
	case c.Deed != nil && now.After(c.Deed.Until):
		return fmt.Errorf("%w: the third party was last heard of at %s, and its keys may be used until %s", ErrLocked,
			c.Deed.At.UTC().Format(time.DateTime), c.Deed.Until.UTC().Format(time.DateTime))
	}
	return nil
}

// Locked says why a domain in use may be used no more; the owner then ends, and
// begins again when New says that it may.
func (v *Vault) Locked() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name := range v.domains {
		if err := v.locked(name); err != nil {
			return fmt.Errorf("domain %q: %w", name, err)
		}
	}
	return nil
}

// now is a time that a clock set back does not change much.
func (v *Vault) now() time.Time {
	now := v.o.Now()
	if v.floor != nil && v.floor.Get().After(now) {
		return v.floor.Get()
	}
	return now
}

// openFloor opens the time that was surely reached: the third party's, and the TPM's
// clock, which goes on from there and never back.
func (v *Vault) openFloor() {
	if v.o.Trustee == nil {
		return
	}
	var clock floor.Clock
	if v.o.TPM != nil {
		if device, err := v.o.TPM(); err == nil {
			clock = &tpm.Clock{Device: device}
		}
	}
	// Of what can't be read the rest counts.
	v.floor, _ = floor.Open(filepath.Join(v.o.Dir, "time"), clock)
}

// names are the domains to have deeds for.
func (v *Vault) names() []string {
	all := slices.Concat(Local(), v.o.Shared)
	for name := range v.all {
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Wants reports that a domain of the box has no keys, or none that it may use: then
// it is worth waiting for the third party.
func (v *Vault) Wants() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, name := range Local() {
		if v.all[name] == nil || v.locked(name) != nil {
			return true
		}
	}
	return false
}
