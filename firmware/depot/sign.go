package depot

import (
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/release"
)

// LoadKeys reads a folder of private keys, PKCS #8 in PEM: ROLE.pem or ROLE-N.pem.
func LoadKeys(dir string) (Keys, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.pem"))
	if err != nil {
		return nil, err
	}
	keys := Keys{}
	for _, path := range files {
		role, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(path), ".pem"), "-")
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read key: %w", err)
		}
		block, _ := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("read key %s: got no PEM block, want PRIVATE KEY", path)
		}
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", path, err)
		}
		s, err := signature.LoadSigner(key, crypto.SHA256)
		if err != nil {
			return nil, fmt.Errorf("read key %s: %w", path, err)
		}
		keys[role] = append(keys[role], s)
	}
	return keys, nil
}

// MakeKeys makes a key for every role in a folder, readable by its owner alone.
// Cloud ops make theirs apart, each where it is to stay.
func MakeKeys(dir string) (Keys, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, role := range append([]string{release.RolloutRole}, roles...) {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, fmt.Errorf("make key: %w", err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
		if err := durable.WriteFile(filepath.Join(dir, role+".pem"), text, 0o600); err != nil {
			return nil, err
		}
	}
	return LoadKeys(dir)
}

// Renew signs the timestamp anew, so that boxes see the depot is alive.
func (d Depot) Renew(keys Keys) error {
	unlock, err := d.alone()
	if err != nil {
		return err
	}
	defer unlock()
	return d.announce(nil, keys)
}

// announce writes a snapshot, if there is something new, and then the timestamp:
// with that the change is there for the boxes.
func (d Depot) announce(changed map[string]int64, keys Keys) error {
	timestamp, err := load(metadata.Timestamp(), d, metadata.TIMESTAMP)
	if err != nil {
		return err
	}
	if len(changed) > 0 {
		snapshot, err := load(metadata.Snapshot(), d, metadata.SNAPSHOT)
		if err != nil {
			return err
		}
		for role, version := range changed {
			snapshot.Signed.Meta[role+".json"] = metadata.MetaFile(version)
		}
		snapshot.Signed.Version++
		snapshot.Signed.Expires = d.expires(metadata.SNAPSHOT)
		snapshot.ClearSignatures()
		if err := d.write(snapshot, metadata.SNAPSHOT, fmt.Sprintf("%d.snapshot", snapshot.Signed.Version), keys); err != nil {
			return err
		}
		timestamp.Signed.Meta["snapshot.json"] = metadata.MetaFile(snapshot.Signed.Version)
	}
	timestamp.Signed.Version++
	timestamp.Signed.Expires = d.expires(metadata.TIMESTAMP)
	timestamp.ClearSignatures()
	return d.write(timestamp, metadata.TIMESTAMP, "timestamp", keys)
}

// Rotate replaces the keys of top-level roles by a new root, signed with the old
// root's keys and the new one's: that is what makes boxes follow.
func (d Depot) Rotate(fresh Keys, threshold map[string]int, old Keys) error {
	root, err := d.root()
	if err != nil {
		return err
	}
	for role, signers := range fresh {
		if root.Signed.Roles[role] == nil {
			return fmt.Errorf("rotate: role %s is not root's to give", role)
		}
		if err := setKeys(&root.Signed, role, signers, threshold[role]); err != nil {
			return err
		}
	}
	root.Signed.Version++
	root.Signed.Expires = d.expires(metadata.ROOT)
	root.ClearSignatures()
	both := Keys{metadata.ROOT: append(old[metadata.ROOT][:len(old[metadata.ROOT]):len(old[metadata.ROOT])], fresh[metadata.ROOT]...)}
	return d.write(root, metadata.ROOT, fmt.Sprintf("%d.root", root.Signed.Version), both)
}

// root is the newest root there is.
func (d Depot) root() (*metadata.Metadata[metadata.RootType], error) {
	var newest *metadata.Metadata[metadata.RootType]
	for n := 1; ; n++ {
		m, err := metadata.Root().FromFile(d.metadata(fmt.Sprintf("%d.root", n)))
		if errors.Is(err, fs.ErrNotExist) && newest != nil {
			return newest, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read depot: %w", err)
		}
		newest = m
	}
}

// load reads the newest metadata of a role, as the timestamp leads to it.
func load[T metadata.Roles](m *metadata.Metadata[T], d Depot, role string) (*metadata.Metadata[T], error) {
	name := role
	if role != metadata.TIMESTAMP {
		t, err := metadata.Timestamp().FromFile(d.metadata("timestamp"))
		if err != nil {
			return nil, fmt.Errorf("read depot: %w", err)
		}
		n := t.Signed.Meta["snapshot.json"].Version
		if role != metadata.SNAPSHOT {
			s, err := metadata.Snapshot().FromFile(d.metadata(fmt.Sprintf("%d.snapshot", n)))
			if err != nil {
				return nil, fmt.Errorf("read depot: %w", err)
			}
			if s.Signed.Meta[role+".json"] == nil {
				return nil, fmt.Errorf("read depot: no role %s", role)
			}
			n = s.Signed.Meta[role+".json"].Version
		}
		name = fmt.Sprintf("%d.%s", n, role)
	}
	m, err := m.FromFile(d.metadata(name))
	if err != nil {
		return nil, fmt.Errorf("read depot: %w", err)
	}
	return m, nil
}

// write signs metadata with all keys of a role and puts it in place.
func (d Depot) write(m document, role, name string, keys Keys) error {
	if len(keys[role]) == 0 {
		return fmt.Errorf("sign %s: no key of role %s at hand", name, role)
	}
	for _, s := range keys[role] {
		if _, err := m.Sign(s); err != nil {
			return fmt.Errorf("sign %s: %w", name, err)
		}
	}
	text, err := m.ToBytes(true)
	if err != nil {
		return fmt.Errorf("sign %s: %w", name, err)
	}
	return durable.WriteFile(d.metadata(name), text, 0o644)
}

// document is metadata of any role.
type document interface {
	Sign(signature.Signer) (*metadata.Signature, error)
	ToBytes(pretty bool) ([]byte, error)
}
