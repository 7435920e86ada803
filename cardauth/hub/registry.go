package hub

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"clinicgate/cardauth/agent/enrol"
	"clinicgate/cardauth/token"
	"clinicgate/firmware/durable"
)

// CodeLife is how long an enrolment code is good.
const CodeLife = 10 * time.Minute

// A Room is one whose workstation is enrolled.
type Room struct {
	Room  string    `json:"room"`
	Key   string    `json:"key"` // hex SHA-256 of the workstation's public key
	Since time.Time `json:"since"`
}

// A Registry knows which key speaks for which room. It is the authority: a
// certificate whose key is not listed is worth nothing, however valid. Safe for
// concurrent use.
type Registry struct {
	path string
	ca   *ecdsa.PrivateKey
	cert *x509.Certificate

	mu    sync.Mutex
	rooms []Room
	codes map[string]pending // by room
}

// A pending code has been shown and not been used.
type pending struct {
	code  enrol.Code
	until time.Time
}

// OpenRegistry reads the rooms from path and the key of their certificates' CA
// from keyPath, making what is not there yet.
func OpenRegistry(path, keyPath string, now time.Time) (*Registry, error) {
	signer, err := token.OpenKey(keyPath)
	if err != nil {
		return nil, fmt.Errorf("key of the workstations' CA: %w", err)
	}
	r := &Registry{path: path, codes: map[string]pending{}}
	var ok bool
	if r.ca, ok = signer.(*ecdsa.PrivateKey); !ok {
		return nil, fmt.Errorf("key of the workstations' CA: got %T, want an ECDSA key", signer)
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("enrolled workstations: %w", err)
	default:
		if err := json.Unmarshal(data, &r.rooms); err != nil {
			return nil, fmt.Errorf("enrolled workstations: %s: %w", path, err)
		}
	}
	r.cert, err = authority(r.ca)
	return r, err
}

// epoch is when all certificates here begin. Whether one counts is the registry's
// word; a box whose clock was wrong when it signed must not lock out a room.
var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

const lifetime = 50 * 365 * 24 * time.Hour

// authority is the CA's certificate, made afresh at each start: key and name are
// all that its certificates refer to.
func authority(key *ecdsa.PrivateKey) (*x509.Certificate, error) {
	t := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clinicgate room workstations"},
		NotBefore: epoch, NotAfter: epoch.Add(lifetime),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("certificate of the workstations' CA: %w", err)
	}
	return x509.ParseCertificate(der)
}

// Invite makes the code by which a room's workstation enrols. An earlier one of
// the room is void.
func (r *Registry) Invite(room string, now time.Time) enrol.Code {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := enrol.NewCode()
	r.codes[room] = pending{c, now.Add(CodeLife)}
	return c
}

// errNoCode is a request no code of ours was used for.
var errNoCode = errors.New("the code is wrong, used or more than ten minutes old")

// admit takes a workstation in by the code its request was made with, which then
// is used up. Stop here after the write: the code is lost with us, the old key is
// out, and the workstation, without its answer, enrols again.
func (r *Registry) admit(q enrol.Request, exporter []byte, gateway []byte, now time.Time) (enrol.Reply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for room, p := range r.codes {
		if now.After(p.until) {
			delete(r.codes, room)
			continue
		}
		if !q.Check(p.code, exporter) {
			continue
		}
		delete(r.codes, room)
		cert, hash, err := r.sign(room, q.CSR)
		if err != nil {
			return enrol.Reply{}, err
		}
		rooms := slices.DeleteFunc(slices.Clone(r.rooms), func(x Room) bool { return x.Room == room })
		if err := r.store(append(rooms, Room{room, hash, now.UTC().Truncate(time.Second)})); err != nil {
			return enrol.Reply{}, err
		}
		a := enrol.Reply{Room: room, Certificate: cert, Gateway: gateway}
		a.Seal(p.code, exporter)
		return a, nil
	}
	return enrol.Reply{}, errNoCode
}

// sign makes a workstation's certificate from its request.
func (r *Registry) sign(room string, csr []byte) (der []byte, hash string, err error) {
	req, err := x509.ParseCertificateRequest(csr)
	if err == nil {
		err = req.CheckSignature()
	}
	if err != nil {
		return nil, "", fmt.Errorf("certificate request: %w", err)
	}
	if pub, ok := req.PublicKey.(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P256() {
		return nil, "", fmt.Errorf("certificate request: got %T, want an ECDSA key on P-256", req.PublicKey)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, "", err
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: room},
		NotBefore: epoch, NotAfter: epoch.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err = x509.CreateCertificate(rand.Reader, t, r.cert, req.PublicKey, r.ca)
	return der, keyHash(req.RawSubjectPublicKeyInfo), err
}

// Revoke turns a room's workstation away from now on. It reports whether there
// was one.
func (r *Registry) Revoke(room string) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(r.rooms), func(x Room) bool { return x.Room == room })
	if len(left) == len(r.rooms) {
		return false, nil
	}
	return true, r.store(left)
}

// store makes rooms durable and only then true.
func (r *Registry) store(rooms []Room) error {
	slices.SortFunc(rooms, func(a, b Room) int { return strings.Compare(a.Room, b.Room) })
	data, err := json.Marshal(rooms)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(r.path, data, 0o600); err != nil {
		return fmt.Errorf("enrolled workstations: %w", err)
	}
	r.rooms = rooms
	return nil
}

// Rooms are the rooms enrolled.
func (r *Registry) Rooms() []Room {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.rooms)
}

// room is the one that a workstation's certificate speaks for now.
func (r *Registry) room(cert *x509.Certificate) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	hash := keyHash(cert.RawSubjectPublicKeyInfo)
	for _, x := range r.rooms {
		if x.Room == cert.Subject.CommonName && bytes.Equal([]byte(x.Key), []byte(hash)) {
			return x.Room, true
		}
	}
	return "", false
}

func keyHash(spki []byte) string {
	sum := sha256.Sum256(spki)
	return hex.EncodeToString(sum[:])
}
