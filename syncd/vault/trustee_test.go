package vault

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/swtpm"
	"clinicgate/firmware/tpm"
	"clinicgate/syncd/trustee/book"
	"clinicgate/syncd/vault/deed"
)

type prf string

func (p prf) Sum(text []byte) ([32]byte, error) {
	mac := hmac.New(sha256.New, []byte(p))
	mac.Write(text)
	return [32]byte(mac.Sum(nil)), nil
}

// A desk is the third party, and the time.
type desk struct {
	t    *testing.T
	book *book.Book
	now  time.Time
	gone bool // no way to it
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	b, err := book.Open(t.TempDir(), prf("secret"), 24*time.Hour)
	must(t, err)
	must(t, b.Enrol("ops", "ops", book.Member{Role: book.Ops}))
	for _, site := range []string{"T-1", "T-2"} {
		must(t, b.Enrol("ops", "boss-"+site, book.Member{Role: book.Manager, Site: site}))
		must(t, b.Enrol("ops", site+"-a", book.Member{Role: book.Box, Site: site}))
	}
	return &desk{t: t, book: b, now: time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)}
}

// A line is one box's way to the desk.
type line struct {
	*desk
	box string
}

func (l line) Deed(_ context.Context, domain string, point []byte) ([]byte, error) {
	if l.gone {
		return nil, errors.New("no way to it")
	}
	sealed, err := l.book.Deed(l.box, deed.Ask{V: 1, Domain: domain, Key: point}, l.now)
	var no *book.Refused
	if errors.As(err, &no) {
		err = &Denied{no.Type, no.Detail}
	}
	return sealed, err
}

func (d *desk) options(site, dir string) Options {
	return Options{Dir: dir, Site: site, Box: site + "-a", Trustee: line{d, site + "-a"}, Now: func() time.Time { return d.now }}
}

func (d *desk) vault(o Options) *Vault {
	d.t.Helper()
	v, err := New(o)
	must(d.t, err)
	return v
}

func refresh(t *testing.T, v *Vault) News {
	t.Helper()
	news, err := v.Refresh(t.Context())
	must(t, err)
	return news
}

// opens reports what d makes of objects that say their own names.
func opens(t *testing.T, d *Domain, want bool, objects ...[]byte) {
	t.Helper()
	for i, sealed := range objects {
		got, err := d.Open(nil, sealed, []byte("id"))
		if want && (err != nil || string(got) != "text") || !want && err == nil {
			t.Errorf("object %d (key %d): got %q, %v; want that it opens: %v", i, sealed[0], got, err, want)
		}
	}
}

func sealText(d *Domain) []byte { return d.Seal(nil, []byte("text"), []byte("id")) }

// A box's first day: the third party's key from the start, the sealed copy when there
// is no way to it, nothing after its bound, all of it again when there is.
func TestBound(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	o := d.options("T-1", dir)
	v := d.vault(o)
	refresh(t, v)
	uploads := v.Domain(Uploads)
	sealed := sealText(uploads)
	if sealed[0] != own+1 {
		t.Errorf("sealed with key %d, want the third party's first", sealed[0])
	}
	d.gone = true
	if _, err := v.Refresh(t.Context()); err == nil {
		t.Error("no word of the third party's absence")
	}
	d.now = d.now.Add(23 * time.Hour)
	again := d.vault(o)
	opens(t, again.Domain(Uploads), true, sealed)
	if err := again.Locked(); err != nil {
		t.Errorf("within the bound: %v", err)
	}
	d.now = d.now.Add(2 * time.Hour)
	if err := again.Locked(); !errors.Is(err, ErrLocked) {
		t.Errorf("after the bound: %v", err)
	}
	late := d.vault(o)
	if err := late.Domain(Uploads).Err(); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "2026-03-02 12:00:00") {
		t.Errorf("after the bound: got %v", err)
	}
	opens(t, late.Domain(Uploads), false, sealed)
	d.now = d.now.Add(-10 * time.Hour) // a clock that was set back: as far as the deed, no further
	d.gone = false
	d.now = d.now.Add(10 * time.Hour)
	refresh(t, late)
	opens(t, late.Domain(Uploads), true, sealed)
}

// What the third party's clock has said is a floor under the box's.
func TestAttackClockSetBack(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	o := d.options("T-1", dir)
	v := d.vault(o)
	refresh(t, v)
	v.Domain(Uploads)
	d.now = d.now.Add(48 * time.Hour)
	refresh(t, v) // raises the floor
	d.gone = true
	before := v.all[Uploads].Deed.Until
	v.all[Uploads].Deed.Until = d.now.Add(-time.Hour) // an older deed than the floor
	d.now = d.now.Add(-40 * time.Hour)
	if err := v.Locked(); !errors.Is(err, ErrLocked) {
		t.Errorf("a clock set back: %v", err)
	}
	v.all[Uploads].Deed.Until = before
	if err := v.Locked(); err != nil {
		t.Error(err)
	}
}

// A box that worked by itself, from the first releases on, comes under the third
// party without losing anything, and gets new keys while it works.
func TestRotation(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	_, objects, blinds := sealedBefore(t, dir)
	o := d.options("T-1", dir)
	d.gone = true
	v := d.vault(o)
	uploads := v.Domain(Uploads)
	first := sealText(uploads)
	if first[0] != own {
		t.Errorf("sealed with key %d, want the box's own", first[0])
	}
	d.gone = false
	refresh(t, v)
	second := sealText(uploads) // the same domain, in use all the time
	must(t, d.book.Rotate("boss-T-1", "T-1/uploads", d.now))
	if news := refresh(t, v); !slices.Equal(news.Rotated, []string{Uploads}) || news.Shredded != nil {
		t.Errorf("got %+v", news)
	}
	third := sealText(uploads)
	if second[0] != own+1 || third[0] != own+2 {
		t.Errorf("sealed with keys %d and %d, want %d and %d", second[0], third[0], own+1, own+2)
	}
	again := d.vault(o)
	for _, v := range []*Vault{v, again} {
		holds(t, v, objects, blinds)
		opens(t, v.Domain(Uploads), true, first, second, third)
	}
	if h := again.Holdings(); len(h) != len(Local()) || h[len(h)-1] != (Holding{Domain: "T-1/uploads", Use: 2, Own: true, May: deed.Write, At: d.now, Until: d.now.Add(24 * time.Hour)}) {
		t.Errorf("got %+v", h)
	}
	bent := third
	bent[0]--
	opens(t, uploads, false, bent)
}

// What was sealed before a shredding opens nowhere; what comes after does. The other
// domains are as they were.
func TestShred(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	o := d.options("T-1", dir)
	d.gone = true
	v := d.vault(o)
	before, kept := sealText(v.Domain(Uploads)), sealText(v.Domain(Audit))
	d.gone = false
	refresh(t, v)
	before2 := sealText(v.Domain(Uploads))
	oldBody := v.kept.Key
	must(t, d.book.Shred("boss-T-1", "T-1/uploads", d.now))
	if news := refresh(t, v); !slices.Equal(news.Shredded, []string{Uploads}) {
		t.Errorf("got %+v", news)
	}
	if slices.Equal(oldBody, v.kept.Key) {
		t.Error("the keys are under the same key as before")
	}
	again := d.vault(o)
	if got := again.Wipe(); !slices.Equal(got, []string{Uploads}) {
		t.Errorf("to be wiped: got %v", got)
	}
	must(t, again.Wiped(Uploads))
	again = d.vault(o)
	if got := again.Wipe(); got != nil {
		t.Errorf("to be wiped again: got %v", got)
	}
	uploads := again.Domain(Uploads)
	opens(t, uploads, false, before, before2)
	opens(t, uploads, true, sealText(uploads))
	opens(t, again.Domain(Audit), true, kept)
	if news := refresh(t, again); news.Shredded != nil {
		t.Errorf("shredded twice: %+v", news)
	}
	other := d.vault(d.options("T-1", t.TempDir())) // a box whose deeds are all new
	if _, err := other.Refresh(t.Context()); err == nil {
		t.Error("another key of the same name was given a deed")
	}
}

// A domain that its manager shares with another clinic: read there, not written; and
// no more when it is shared no more, also after a restart.
func TestShared(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	v := d.vault(d.options("T-1", t.TempDir()))
	refresh(t, v)
	sealed := sealText(v.Domain(Consults))
	o := d.options("T-2", dir)
	o.Shared = []string{"T-1/consults"}
	theirs := d.vault(o)
	if _, err := theirs.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), deed.RefusedAccess) {
		t.Errorf("not shared yet: %v", err)
	}
	if theirs.Domain("T-1/consults").Err() == nil {
		t.Error("keys before it was shared")
	}
	must(t, d.book.Grant("boss-T-1", "T-1/consults", "T-2", deed.Read))
	refresh(t, theirs)
	shared := theirs.Domain("T-1/consults")
	opens(t, shared, true, sealed)
	opens(t, theirs.Domain(Consults), false, sealed)
	if !shared.ReadOnly() || theirs.Domain(Consults).ReadOnly() {
		t.Error("what may be written is mixed up")
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("sealed where it may only read")
			}
		}()
		sealText(shared)
	}()
	must(t, d.book.Grant("boss-T-1", "T-1/consults", "T-2", ""))
	if _, err := theirs.Refresh(t.Context()); err == nil {
		t.Error("no word of the refusal")
	}
	if err := theirs.Locked(); !errors.Is(err, ErrLocked) {
		t.Errorf("shared no more: %v", err)
	}
	d.gone = true
	again := d.vault(o)
	opens(t, again.Domain("T-1/consults"), false, sealed)
	if err := again.Domain(Uploads).Err(); err != nil {
		t.Errorf("its own domains: %v", err)
	}
}

// A box that is taken off opens nothing, also without a way to the third party, and
// has everything again when that was a mistake.
func TestRevoked(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	o := d.options("T-1", dir)
	v := d.vault(o)
	refresh(t, v)
	sealed := sealText(v.Domain(Uploads))
	must(t, d.book.Revoke("ops", "T-1-a", "stolen"))
	if _, err := v.Refresh(t.Context()); err == nil {
		t.Error("no word of the refusal")
	}
	if err := v.Locked(); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), "stolen") {
		t.Errorf("got %v", err)
	}
	d.gone = true
	opens(t, d.vault(o).Domain(Uploads), false, sealed)
	d.gone = false
	must(t, d.book.Enrol("ops", "T-1-a", book.Member{Role: book.Box, Site: "T-1", Key: v.Fingerprint()}))
	again := d.vault(o)
	refresh(t, again)
	opens(t, again.Domain(Uploads), true, sealed)
}

// nobody is a TPM that several open.
type shared struct{ net.Conn }

func (shared) Close() error { return nil }

func inTPM(o Options, c net.Conn) Options {
	o.TPM = func() (io.ReadWriteCloser, error) { return shared{c}, nil }
	return o
}

// extend measures something else than at the last start.
func extend(t *testing.T, c net.Conn, pcr byte) {
	t.Helper()
	cmd := []byte{0x80, 2, 0, 0, 0, 65, 0, 0, 1, 0x82, 0, 0, 0, pcr, 0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0x0B}
	if _, err := c.Write(append(cmd, make([]byte, 32)...)); err != nil {
		t.Fatal(err)
	}
	resp := make([]byte, 64)
	if n, err := c.Read(resp); err != nil || n < 10 || resp[9] != 0 || resp[8] != 0 {
		t.Fatalf("got %x, %v", resp, err)
	}
}

// In a TPM: the disk is of no use without it, and it gives nothing in another state.
func TestInTPM(t *testing.T) {
	dir := t.TempDir()
	_, objects, blinds := sealedBefore(t, dir)
	chip := swtpm.Start(t, t.TempDir())
	o := inTPM(Options{Dir: dir}, chip)
	v, err := New(o)
	must(t, err)
	if v.State() != "tpm" {
		t.Errorf("got state %q", v.State())
	}
	holds(t, v, objects, blinds)
	again, err := New(o)
	must(t, err)
	holds(t, again, objects, blinds)
	if _, err := Open(dir); err == nil {
		t.Error("opened without the TPM")
	}
	if _, err := New(inTPM(o, swtpm.Start(t, t.TempDir()))); err == nil {
		t.Error("opened with another TPM")
	}
	extend(t, chip, 4)
	again, err = New(o)
	must(t, err)
	holds(t, again, objects, blinds)
	extend(t, chip, pcrSecureBoot)
	if _, err := New(o); !errors.Is(err, tpm.ErrState) || !strings.Contains(err.Error(), "register [7]") {
		t.Errorf("in another state: got %v", err)
	}
}

// Where a TPM's end would be the end of what is stored, its owner says so, and the
// keys stay a file until there is a way back.
func TestUnbound(t *testing.T) {
	o := inTPM(Options{Dir: t.TempDir(), Unbound: "nobody has them"}, swtpm.Start(t, t.TempDir()))
	var sealed []byte
	for i := range 2 {
		v, err := New(o)
		must(t, err)
		if want := "software: nobody has them"; v.State() != want {
			t.Errorf("got state %q, want %q", v.State(), want)
		}
		if i == 0 {
			sealed = sealText(v.Domain(Uploads))
		}
		opens(t, v.Domain(Uploads), true, sealed)
	}
	o.Unbound = ""
	v, err := New(o)
	must(t, err)
	if v.State() != "tpm" {
		t.Errorf("got state %q", v.State())
	}
	o.Unbound = "nobody has them"
	v, err = New(o) // what is in the TPM stays there
	must(t, err)
	opens(t, v.Domain(Uploads), true, sealed)
}

// Keys in a file go into a TPM that is there at a later start.
func TestIntoTPM(t *testing.T) {
	dir := t.TempDir()
	none := Options{Dir: dir, TPM: func() (io.ReadWriteCloser, error) { return nil, fs.ErrNotExist }}
	v, err := New(none)
	must(t, err)
	if want := "software: this box has no TPM"; v.State() != want {
		t.Errorf("got state %q, want %q", v.State(), want)
	}
	sealed := sealText(v.Domain(Uploads))
	broken := Options{Dir: dir, TPM: func() (io.ReadWriteCloser, error) { return nil, errors.New("input/output error") }}
	v, err = New(broken)
	must(t, err)
	opens(t, v.Domain(Uploads), true, sealed)
	if want := "software: the TPM gives no key: input/output error"; v.State() != want {
		t.Errorf("got state %q, want %q", v.State(), want)
	}
	o := inTPM(none, swtpm.Start(t, t.TempDir()))
	for range 2 {
		v, err = New(o)
		must(t, err)
		opens(t, v.Domain(Uploads), true, sealed)
		if v.State() != "tpm" {
			t.Errorf("got state %q", v.State())
		}
	}
	if _, err := New(none); err == nil {
		t.Error("opened without the TPM")
	}
}

// A box whose firmware settings were changed for good: nothing opens until the third
// party knows the key of the new state; then everything does, with what was sealed
// before its first deed.
func TestStateChangedForGood(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	chip := swtpm.Start(t, t.TempDir())
	o := inTPM(d.options("T-1", dir), chip)
	d.gone = true
	v := d.vault(o)
	first := sealText(v.Domain(Uploads))
	d.gone = false
	refresh(t, v)
	second := sealText(v.Domain(Uploads))
	extend(t, chip, pcrSecureBoot)

	moved := d.vault(o)
	if err := moved.Domain(Uploads).Err(); !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), moved.Fingerprint()) {
		t.Errorf("got %v, want a fingerprint to enrol", err)
	}
	if _, err := moved.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), deed.RefusedKey) {
		t.Errorf("before it is enrolled: %v", err)
	}
	moved = d.vault(o) // however often it is tried
	opens(t, moved.Domain(Uploads), false, first, second)
	must(t, d.book.Enrol("ops", "T-1-a", book.Member{Role: book.Box, Site: "T-1", Key: moved.Fingerprint()}))
	if news := refresh(t, moved); !news.Back {
		t.Errorf("got %+v", news)
	}
	again := d.vault(o)
	for _, v := range []*Vault{moved, again} {
		opens(t, v.Domain(Uploads), true, first, second)
	}
	if _, err := os.Stat(filepath.Join(dir, beforeFile)); err != nil {
		t.Errorf("the keys of the state before are not kept: %v", err)
	}
}

// A deed of a new state that stops half way: what has not come yet is waited for,
// and not made anew.
func TestStopBetweenDeeds(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	chip := swtpm.Start(t, t.TempDir())
	o := inTPM(d.options("T-1", dir), chip)
	v := d.vault(o)
	for _, name := range Local() {
		v.Domain(name) // with the box's own key
	}
	refresh(t, v)
	sealed := sealText(v.Domain(Uploads))
	extend(t, chip, pcrSecureBoot)
	moved := d.vault(o)
	must(t, d.book.Enrol("ops", "T-1-a", book.Member{Role: book.Box, Site: "T-1", Key: moved.Fingerprint()}))
	point := moved.point
	one, err := line{d, "T-1-a"}.Deed(t.Context(), "T-1/audit", point)
	must(t, err)
	must(t, moved.accept(Audit, one, &News{}))
	half := d.vault(o)
	if err := half.Domain(Uploads).Err(); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want that it waits", err)
	}
	if err := half.Domain(Audit).Err(); err != nil {
		t.Error(err)
	}
	refresh(t, half)
	opens(t, half.Domain(Uploads), true, sealed)
}

// What can't be written is not used.
func TestKeysThatCannotBeWritten(t *testing.T) {
	d, dir := newDesk(t), t.TempDir()
	v := d.vault(d.options("T-1", dir))
	uploads := v.Domain(Uploads)
	v.o.Dir = filepath.Join(dir, "none")
	if _, err := v.Refresh(t.Context()); err == nil {
		t.Error("no word of the disk")
	}
	if err := v.Domain("other").Err(); err == nil {
		t.Error("a key that is not on the disk is in use")
	}
	if sealed := sealText(uploads); sealed[0] != own {
		t.Errorf("sealed with key %d, which is not on the disk", sealed[0])
	}
	v.o.Dir = dir
	refresh(t, v)
	if sealed := sealText(uploads); sealed[0] != own+1 {
		t.Errorf("sealed with key %d", sealed[0])
	}
}
