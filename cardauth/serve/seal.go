package serve

import (
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"clinicgate/cardauth/sealed"
)

// Seals open PINs that were sealed for this program.
type Seals interface {
	Public(now time.Time) (sealed.Public, error)
	Open(id string, box, info []byte, now time.Time) ([]byte, error)
}

// A secret is a PIN as a body has it: as it was typed, or sealed.
type secret struct {
	PIN    pin `json:"pin"`
	Sealed *struct {
		Key string `json:"key"`
		Box string `json:"box"` // base64url: encapsulated key and ciphertext
	} `json:"sealed_pin"`
}

// errPlain is a PIN that came as it was typed where the site wants it sealed.
var errPlain = errors.New("the PIN must come sealed here, see GET /v1/pin-key; it was not used")

// open returns the PIN, which the caller wipes. Without any it is empty.
func (s *Server) open(in *secret, certHash string) ([]byte, error) {
	switch {
	case in.Sealed == nil && s.SealedOnly && len(in.PIN) > 0:
		clear(in.PIN)
		return nil, errPlain
	case in.Sealed == nil:
		return in.PIN, nil
	case len(in.PIN) > 0:
		clear(in.PIN)
		return nil, errors.New("one PIN, sealed or not")
	case s.Seals == nil:
		return nil, sealed.ErrKey
	}
	box, err := base64.RawURLEncoding.DecodeString(in.Sealed.Box)
	if err != nil {
		return nil, sealed.ErrBox
	}
	return s.Seals.Open(in.Sealed.Key, box, sealed.Info(certHash), time.Now())
}

// notOpened answers a request whose PIN could not be had. The card was not asked.
func notOpened(w http.ResponseWriter, err error) {
	switch {
	case errors.Is(err, errPlain):
		problem(w, http.StatusBadRequest, "plain-pin", err.Error())
	case errors.Is(err, sealed.ErrKey):
		problem(w, http.StatusConflict, "pin-key", "the PIN was sealed with a key that is not in use any more; ask for the key again and seal it anew")
	default:
		problem(w, http.StatusBadRequest, "bad-request", err.Error())
	}
}

// pinKey: what to seal a PIN with.
func (s *Server) pinKey(w http.ResponseWriter, r *http.Request) {
	hash, ok := certHash(r)
	if !ok {
		problem(w, http.StatusForbidden, "no-certificate", "a client certificate of this clinic is required")
		return
	}
	if s.Seals == nil {
		http.NotFound(w, r)
		return
	}
	k, err := s.Seals.Public(time.Now())
	if err != nil {
		s.Log.Error("key for PINs", "err", err)
		problem(w, http.StatusServiceUnavailable, "busy", "there is no key to seal a PIN with")
		return
	}
	respond(w, http.StatusOK, "application/json", struct {
		ID      string `json:"key"`
		Suite   string `json:"suite"`
		Public  string `json:"public"`
		Info    string `json:"info"`
		Expires int    `json:"expires_in"` // seconds
	}{k.ID, sealed.Suite, base64.RawURLEncoding.EncodeToString(k.Key), string(sealed.Info(hash)), int(k.Lasts / time.Second)})
}
