package twin

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var key = [32]byte{7, 7, 7}

func TestReadKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ha.key")
	good := base64.StdEncoding.EncodeToString(key[:])
	for text, ok := range map[string]bool{
		good + "\n": true, "": false, good[:20]: false, base64.StdEncoding.EncodeToString(make([]byte, 32)): false, good + good: false,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := ReadKey(path)
		if (err == nil) != ok || ok && got != key {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ReadKey(path + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// meet has two ends shake hands, and returns what each of them says to it.
func meet(t *testing.T, one, other *tls.Config) (errs [2]error) {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	server := make(chan error, 1)
	go func() {
		s := tls.Server(b, other)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		b.Close()
		server <- err
	}()
	c := tls.Client(a, one)
	errs[0] = c.Handshake()
	if errs[0] == nil { // in TLS 1.3 the server judges after the client
		_, errs[0] = c.Read(make([]byte, 1))
	}
	a.Close()
	errs[1] = <-server
	return errs
}

// Holders of the key meet; another key, the key for another purpose, and nobody's
// certificate do not.
func TestTerms(t *testing.T) {
	terms := func(key [32]byte, purpose string) *tls.Config {
		c, err := Terms(key, purpose)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	if errs := meet(t, terms(key, "a"), terms(key, "a")); errors.Join(errs[:]...) != nil {
		t.Errorf("the same key and purpose: %v", errs)
	}
	for name, other := range map[string]*tls.Config{
		"another key": terms([32]byte{8}, "a"), "another purpose": terms(key, "b"),
		"no certificate": {InsecureSkipVerify: true},
	} {
		if errs := meet(t, other, terms(key, "a")); errs[1] == nil {
			t.Errorf("%s at the door: %v", name, errs)
		}
		if other.Certificates == nil {
			continue
		}
		if errs := meet(t, terms(key, "a"), other); !errors.Is(errs[0], ErrOtherKey) {
			t.Errorf("%s answers: %v", name, errs)
		}
	}
}
