// Package enrol is how a room's workstation and the gateway come to know each
// other by a code that a person carries from one to the other. Each proves to the
// other that it knows the code, for this TLS connection and for these keys only:
// whoever stands between has two connections with two exporter values, and learns
// nothing he could guess the code from, for it has 80 random bits.
package enrol

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// ErrCode is returned for something that is no code.
var ErrCode = errors.New("not an enrolment code")

// codeBytes is the entropy of a code.
const codeBytes = 10

// letters is Crockford's alphabet: no I, L, O or U.
var letters = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

// A Code is shown on the gateway and typed at the workstation.
type Code [codeBytes]byte

// NewCode makes a code nobody has seen.
func NewCode() Code {
	var c Code
	rand.Read(c[:])
	return c
}

// String is the code as people read it: four groups of four.
func (c Code) String() string {
	s := letters.EncodeToString(c[:])
	return s[:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:]
}

// ParseCode reads a code as people type it.
func ParseCode(typed string) (Code, error) {
	var c Code
	s := strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(strings.TrimSpace(typed)))
	raw, err := letters.DecodeString(s)
	if err != nil || len(s) != 16 || len(raw) != codeBytes {
		return c, fmt.Errorf("%w: want four groups of four letters and digits", ErrCode)
	}
	copy(c[:], raw)
	return c, nil
}

// A Request is what the workstation sends.
type Request struct {
	CSR []byte `json:"csr"` // PKCS #10, of its new key
	MAC []byte `json:"mac"`
}

// A Reply is what the gateway answers: the workstation's certificate, and the CA
// of the gateway's own.
type Reply struct {
	Room        string `json:"room"`
	Certificate []byte `json:"certificate"`
	Gateway     []byte `json:"gateway"` // PEM
	MAC         []byte `json:"mac"`
	Refusal     string `json:"refusal,omitempty"` // instead of all else
}

// Seal fills in the request's MAC; exporter is the connection's.
func (r *Request) Seal(c Code, exporter []byte) { r.MAC = r.mac(c, exporter) }

// Check reports whether the request was made with the code on this connection.
func (r *Request) Check(c Code, exporter []byte) bool {
	return hmac.Equal(r.MAC, r.mac(c, exporter))
}

func (r *Request) mac(c Code, exporter []byte) []byte {
	return mac(c, []byte("workstation"), exporter, r.CSR)
}

// Seal fills in the reply's MAC.
func (r *Reply) Seal(c Code, exporter []byte) { r.MAC = r.mac(c, exporter) }

// Check reports whether the reply comes from where the code was shown.
func (r *Reply) Check(c Code, exporter []byte) bool {
	return hmac.Equal(r.MAC, r.mac(c, exporter))
}

func (r *Reply) mac(c Code, exporter []byte) []byte {
	return mac(c, []byte("gateway"), exporter, []byte(r.Room), r.Certificate, r.Gateway)
}

func mac(c Code, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, c[:])
	for _, p := range append([][]byte{[]byte("clinicgate/enrol/v1")}, parts...) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		h.Write(p)
	}
	return h.Sum(nil)
}
