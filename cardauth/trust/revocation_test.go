package trust

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab/pki"
	"clinicgate/firmware/wire"
)

const day = 24 * time.Hour

// leaf is a doctor's certificate and what is believed about it.
func leaf(t *testing.T, w *pki.World, a *Anchors, rules Rules) (*x509.Certificate, Holder) {
	t.Helper()
	der, err := w.Professionals.CardCertificate(ruiz, pki.SlotAuthentication, key(t))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	h, err := a.Holder(cert, rules, now)
	if err != nil {
		t.Fatal(err)
	}
	return cert, h
}

func list(t testing.TB, ca *pki.CA, n int64, this time.Time, revoked ...*x509.Certificate) []byte {
	t.Helper()
	der, err := ca.CRL(n, this, revoked...)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func parsed(t testing.TB, der []byte, a *Anchors) *CRL {
	t.Helper()
	c, err := ParseCRL(der, a, now)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A card on its authority's list, one whose authority is on the root's, and one on
// the hotlist by key or by number are refused; the others are not.
func TestAttackRevokedOffline(t *testing.T) {
	w, a, rules := setup(t)
	bad, badHolder := leaf(t, w, a, rules)
	good, goodHolder := leaf(t, w, a, rules)
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	hot := func(p payload) *Hotlist {
		p.Serial, p.Issued = 1, now
		h, err := ParseHotlist(sign(t, priv, p), pub, now)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	years := now.Add(-3 * 365 * day) // however old a list is
	for name, c := range map[string]struct {
		r    *Revocation
		good bool // the good card stays good
	}{
		"its list":           {NewRevocation([]*CRL{parsed(t, list(t, w.Professionals, 7, now.Add(-day), bad), a)}, nil), true},
		"its list, very old": {NewRevocation([]*CRL{parsed(t, list(t, w.Professionals, 7, years, bad), a)}, nil), true},
		"the root's list":    {NewRevocation([]*CRL{parsed(t, list(t, w.Root, 7, now.Add(-day), w.Professionals.Cert), a)}, nil), false},
		"hotlist, key":       {NewRevocation(nil, hot(payload{Keys: []string{hex.EncodeToString(badHolder.Key[:])}})), true},
		"hotlist, number":    {NewRevocation(nil, hot(payload{Holders: []string{badHolder.Registration}})), false}, // of the same doctor
	} {
		if err := c.r.Check(bad, badHolder, a); !errors.Is(err, ErrRevoked) {
			t.Errorf("%s: %v, want ErrRevoked", name, err)
		}
		if err := c.r.Check(good, goodHolder, a); (err == nil) != c.good {
			t.Errorf("%s: another card: %v", name, err)
		}
	}
}

// Each case spoils one thing of a list.
func TestAttackBadLists(t *testing.T) {
	w, a, rules := setup(t)
	cert, holder := leaf(t, w, a, rules)
	spoilt := func(f func(*x509.RevocationList)) []byte {
		l := &x509.RevocationList{Number: big.NewInt(5), ThisUpdate: now.Add(-day), NextUpdate: now.Add(day)}
		f(l)
		der, err := w.Professionals.SignCRL(l)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	ext := func(id []int, critical bool, value ...byte) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: value}}
		}
	}
	idp := []int{2, 5, 29, 28}
	good := list(t, w.Professionals, 5, now.Add(-day))
	cut := append([]byte(nil), good...)
	cut[len(cut)-3] ^= 1
	for name, data := range map[string][]byte{
		"nothing":              nil,
		"text":                 []byte("hello"),
		"a certificate":        w.Professionals.PEM(),
		"too long":             make([]byte, MaxList+1),
		"signed by another CA": list(t, w.Foreign, 5, now.Add(-day)),
		"by the devices' CA":   list(t, w.Devices, 5, now.Add(-day)),
		"signature broken":     cut,
		"of tomorrow":          list(t, w.Professionals, 5, now.Add(day)),
		"a delta":              spoilt(ext([]int{2, 5, 29, 27}, true, 2, 1, 1)),
		"an unknown extension": spoilt(ext([]int{1, 2, 3}, true, 5, 0)),
		"some reasons only":    spoilt(ext(idp, true, 0x30, 4, 0x83, 2, 1, 6)),
		"indirect":             spoilt(ext(idp, true, 0x30, 3, 0x84, 1, 0xFF)),
		"attribute certs":      spoilt(ext(idp, true, 0x30, 3, 0x85, 1, 0xFF)),
		"scope malformed":      spoilt(ext(idp, true, 0x30, 9)),
		"an entry's extension": spoilt(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(1), RevocationTime: now, ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}}}
		}),
	} {
		if c, err := ParseCRL(data, a, now); !errors.Is(err, ErrList) {
			t.Errorf("%s: got %v, %v", name, c, err)
		}
	}
	inPEM := pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: good})
	if c, err := ParseCRL(inPEM, a, now); err != nil || c.Issuer != "Test Health Professionals CA" {
		t.Errorf("PEM: %v", err)
	}
	// A list of CAs only is no list of cards, and one of users takes no CA's word.
	cas := parsed(t, spoilt(func(l *x509.RevocationList) {
		ext(idp, true, 0x30, 3, 0x82, 1, 0xFF)(l)
		l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: cert.SerialNumber, RevocationTime: now}}
	}), a)
	if err := NewRevocation([]*CRL{cas}, nil).Check(cert, holder, a); err != nil {
		t.Errorf("a list of CAs: %v", err)
	}
	users := spoilt(ext(idp, true, 0x30, 3, 0x81, 1, 0xFF))
	if parsed(t, users, a).Key() == cas.Key() {
		t.Error("a list of CAs takes the place of that of users")
	}
	// Taken off hold.
	off := parsed(t, spoilt(func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: cert.SerialNumber, RevocationTime: now, ReasonCode: 8}}
	}), a)
	if err := NewRevocation([]*CRL{off}, nil).Check(cert, holder, a); err != nil {
		t.Errorf("taken off hold: %v", err)
	}
}

// A list never gives way to an older one.
func TestAttackListRollback(t *testing.T) {
	w, a, _ := setup(t)
	seven := parsed(t, list(t, w.Professionals, 7, now.Add(-2*day)), a)
	for _, c := range []struct {
		n    int64
		this time.Time
		ok   bool
	}{
		{8, now.Add(-day), true}, {6, now.Add(-day), false}, {7, now.Add(-day), false}, {8, now.Add(-3 * day), false},
	} {
		err := parsed(t, list(t, w.Professionals, c.n, c.this), a).Newer(seven)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, ErrRollback) {
			t.Errorf("number %d of %s: %v", c.n, c.this, err)
		}
	}
	if err := seven.Newer(seven); err != nil {
		t.Errorf("the same once more: %v", err)
	}
	if err := seven.Newer(nil); err != nil {
		t.Error(err)
	}
}

// The older the lists, the less is allowed, and never nothing.
func TestAttackStaleLists(t *testing.T) {
	w, a, _ := setup(t)
	p := Patience{Stale: 3 * day, Restricted: 14 * day}
	r := NewRevocation([]*CRL{parsed(t, list(t, w.Professionals, 1, now), a)}, nil) // holds 7 days
	for late, want := range map[time.Duration]string{
		-day: wire.GradeFresh, 0: wire.GradeFresh, time.Hour: wire.GradeStale, 3 * day: wire.GradeStale,
		4 * day: wire.GradeRestricted, 14 * day: wire.GradeRestricted, 15 * day: wire.GradeEmergency, 1000 * day: wire.GradeEmergency,
	} {
		if got, until := r.Grade(now.Add(7*day).Add(late), p, a, nil); got != want || !until.Equal(now.Add(7*day).Truncate(time.Second)) {
			t.Errorf("%v after it ended: %s until %v, want %s", late, got, until, want)
		}
	}
	if got, _ := NewRevocation(nil, nil).Grade(now, p, a); got != wire.GradeEmergency {
		t.Errorf("without any list: %s", got)
	}
	if got, _ := r.Grade(now, p); got != wire.GradeUnchecked {
		t.Errorf("without authorities: %s", got)
	}
}

func sign(t testing.TB, key ed25519.PrivateKey, p any) []byte {
	t.Helper()
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(envelope{text, ed25519.Sign(key, append([]byte(hotlistPrefix), text...))})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAttackForgedHotlist(t *testing.T) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := payload{Serial: 3, Issued: now, Holders: []string{"1"}}
	h, err := ParseHotlist(sign(t, priv, good), pub, now)
	if err != nil || h.Len() != 1 {
		t.Fatalf("%+v, %v", h, err)
	}
	old := good
	old.Serial = 2
	older, err := ParseHotlist(sign(t, priv, old), pub, now)
	if err != nil || !errors.Is(older.Newer(h), ErrRollback) || h.Newer(older) != nil || h.Newer(h) != nil {
		t.Errorf("rollback: %v", err)
	}
	zero, ahead, key := good, good, good
	zero.Serial, ahead.Issued, key.Keys = 0, now.Add(day), []string{"abc"}
	for name, data := range map[string][]byte{
		"another key": sign(t, other, good),
		"altered":     []byte(strings.Replace(string(sign(t, priv, good)), "payload\":\"ey", "payload\":\"ez", 1)),
		"no serial":   sign(t, priv, zero),
		"of tomorrow": sign(t, priv, ahead),
		"a short key": sign(t, priv, key),
		"more":        sign(t, priv, map[string]any{"serial": 1, "issued": now, "until": now}),
		"no JSON":     []byte("x"),
		"empty":       nil,
	} {
		if h, err := ParseHotlist(data, pub, now); !errors.Is(err, ErrList) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
	if _, err := ParseHotlist(sign(t, priv, good), nil, now); err == nil {
		t.Error("taken without a key")
	}
	if (*Hotlist)(nil).Names(Holder{}) || (*Hotlist)(nil).Len() != 0 {
		t.Error("no list names somebody")
	}
}

// The clock set back is noticed; set years ahead it does not carry the floor along.
func TestAttackClock(t *testing.T) {
	c := Clock{Floor: now, Evidence: now.Add(-10 * day)}
	for back, suspect := range map[time.Duration]bool{0: false, -4 * time.Minute: false, -6 * time.Minute: true, -365 * day: true, 5 * 365 * day: false} {
		at, got := c.Now(now.Add(back))
		if got != suspect {
			t.Errorf("set by %v: suspect %v", back, got)
		}
		if want := now.Add(back); !suspect && !at.Equal(want) || suspect && !at.Equal(now) {
			t.Errorf("set by %v: judged at %v", back, at)
		}
	}
	if got := c.Raise(now.Add(5 * 365 * day)); !got.Equal(now.Add(20 * day)) {
		t.Errorf("a clock five years ahead raised the floor to %v", got)
	}
	if got := c.Raise(now.Add(time.Hour)); !got.Equal(now.Add(time.Hour)) {
		t.Errorf("an hour later the floor is %v", got)
	}
	if got := c.Raise(now.Add(-day)); !got.Equal(now) {
		t.Errorf("a clock set back lowered the floor to %v", got)
	}
	// Back at the right time nothing is suspect within that month.
	fixed := Clock{Floor: c.Raise(now.Add(5 * 365 * day)), Evidence: now.Add(25 * day)}
	if _, suspect := fixed.Now(now.Add(25 * day)); suspect {
		t.Error("the clock is suspect for ever")
	}
	// A list signed later than the clock says tells that it is wrong.
	if at, suspect := (Clock{Evidence: now}).Now(now.Add(-day)); !suspect || !at.Equal(now) {
		t.Error("a list of tomorrow went unnoticed")
	}
}

func TestManyEntries(t *testing.T) {
	w, a, rules := setup(t)
	cert, holder := leaf(t, w, a, rules)
	var many []*x509.Certificate
	for i := range int64(50000) {
		many = append(many, &x509.Certificate{SerialNumber: big.NewInt(i + 1)})
	}
	c := parsed(t, list(t, w.Professionals, 1, now, append(many, cert)...), a)
	if c.Len() != 50001 {
		t.Fatalf("%d entries", c.Len())
	}
	if err := NewRevocation([]*CRL{c}, nil).Check(cert, holder, a); !errors.Is(err, ErrRevoked) {
		t.Error(err)
	}
}

func FuzzCRL(f *testing.F) {
	w, err := pki.New(now)
	if err != nil {
		f.Fatal(err)
	}
	a, err := ParseAnchors(append(w.Root.PEM(), w.Professionals.PEM()...))
	if err != nil {
		f.Fatal(err)
	}
	good := list(f, w.Professionals, 1, now)
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Fuzz(func(_ *testing.T, der []byte) {
		_, _ = ParseCRL(der, a, now)
		_ = (&CRL{}).scope(der)
	})
}

func FuzzHotlist(f *testing.F) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sign(f, priv, payload{Serial: 1, Issued: now}))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = ParseHotlist(data, pub, now) })
}
