package room

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"clinicgate/cardauth/agent/enrol"
	"clinicgate/cardauth/agent/frame"
)

// An Identity is what a workstation has once it is enrolled.
type Identity struct {
	Room    string
	Gateway string // host:port
	key     *ecdsa.PrivateKey
	cert    []byte
	roots   []byte // PEM of the CA of the gateway's certificate
}

const dialing = 5 * time.Second

// Enrol makes a key and has the gateway certify it. Nobody vouches for the gateway
// yet: it must prove that it knows the code, on this very connection.
func Enrol(ctx context.Context, gateway string, code enrol.Code) (*Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "room workstation"}}, key)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	conn, err := dial(ctx, gateway, &tls.Config{InsecureSkipVerify: true}) // see above
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	state := conn.ConnectionState()
	channel, err := state.ExportKeyingMaterial(frame.Label, nil, frame.ExporterSize)
	if err != nil {
		return nil, fmt.Errorf("bind to connection: %w", err)
	}
	q := enrol.Request{CSR: csr}
	q.Seal(code, channel)
	_ = conn.SetDeadline(time.Now().Add(2 * dialing))
	if err := frame.Write(conn, q); err != nil {
		return nil, err
	}
	var a enrol.Reply
	if err := frame.Read(conn, &a); err != nil {
		return nil, err
	}
	if a.Refusal != "" {
		return nil, fmt.Errorf("enrol: the gateway says: %q", a.Refusal)
	}
	if !a.Check(code, channel) {
		return nil, errors.New("enrol: whoever answered does not know the code: this is not the gateway that showed it")
	}
	return newIdentity(gateway, key, a)
}

func newIdentity(gateway string, key *ecdsa.PrivateKey, a enrol.Reply) (*Identity, error) {
	cert, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return nil, fmt.Errorf("enrol: certificate: %w", err)
	}
	if pub, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || !pub.Equal(key.Public()) {
		return nil, errors.New("enrol: the certificate is for another key")
	}
	if !x509.NewCertPool().AppendCertsFromPEM(a.Gateway) {
		return nil, errors.New("enrol: got no CA of the gateway")
	}
	return &Identity{Room: a.Room, Gateway: gateway, key: key, cert: a.Certificate, roots: a.Gateway}, nil
}

// dial opens a connection that no proxy or tunnel ends on the way.
func dial(ctx context.Context, gateway string, conf *tls.Config) (*tls.Conn, error) {
	conf.MinVersion, conf.NextProtos = tls.VersionTLS13, []string{frame.Protocol}
	ctx, cancel := context.WithTimeout(ctx, dialing)
	defer cancel()
	host, _, err := net.SplitHostPort(gateway)
	if err != nil {
		return nil, fmt.Errorf("gateway: got %q, want host:port", gateway)
	}
	conf.ServerName = host
	c, err := (&tls.Dialer{Config: conf}).DialContext(ctx, "tcp", gateway)
	if err != nil {
		return nil, err
	}
	return c.(*tls.Conn), nil
}

// Dial calls the gateway, which must show a certificate of the CA it named at
// enrolment.
func (id *Identity) Dial(ctx context.Context) (*tls.Conn, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(id.roots) {
		return nil, errors.New("no CA of the gateway")
	}
	return dial(ctx, id.Gateway, &tls.Config{
		RootCAs:      roots,
		Certificates: []tls.Certificate{{Certificate: [][]byte{id.cert}, PrivateKey: id.key}},
	})
}

// stored is an identity's file.
type stored struct {
	Room    string `json:"room"`
	Gateway string `json:"gateway"`
	Key     []byte `json:"key"` // PKCS #8
	Cert    string `json:"certificate"`
	Roots   string `json:"gateway_ca"`
}

const file = "identity.json"

// Save keeps the identity in dir, readable by its owner alone. Stop here before the
// rename: the old identity stands, or none, and the room is enrolled again.
func (id *Identity) Save(dir string) error {
	key, err := x509.MarshalPKCS8PrivateKey(id.key)
	if err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.cert})
	data, err := json.Marshal(stored{id.Room, id.Gateway, key, string(cert), string(id.roots)})
	if err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	tmp := filepath.Join(dir, "."+file+".new")
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("save identity: %w", err)
	}
	return os.Rename(tmp, filepath.Join(dir, file))
}

// Load reads the identity kept in dir.
func Load(dir string) (*Identity, error) {
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	var s stored
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(s.Key)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s: its key can't be read; enrol again", file)
	}
	block, _ := pem.Decode([]byte(s.Cert))
	if block == nil {
		return nil, fmt.Errorf("%s: its certificate can't be read; enrol again", file)
	}
	return &Identity{Room: s.Room, Gateway: s.Gateway, key: key, cert: block.Bytes, roots: []byte(s.Roots)}, nil
}
