// Package depot is cloud ops' side of releases: a folder that any web server can
// serve, whose metadata is signed so that the server need not be trusted. Every
// change is complete when timestamp.json is replaced, which comes last; a stop
// before leaves the depot as it was.
package depot

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/release"
)

// Keys are the signers at hand, by role. Publishing a release needs targets,
// snapshot and timestamp; steering a rollout needs rollout instead of targets.
type Keys map[string][]signature.Signer

// roles of a depot beside the delegated one.
var roles = []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP}

// lasts is how long each role's word holds. A box that can't reach the depot keeps
// what it has; these only bound how long an old depot can be passed off as new.
var lasts = map[string]time.Duration{
	metadata.ROOT: 365 * 24 * time.Hour, metadata.TARGETS: 365 * 24 * time.Hour,
	release.RolloutRole: 90 * 24 * time.Hour, metadata.SNAPSHOT: 30 * 24 * time.Hour, metadata.TIMESTAMP: 7 * 24 * time.Hour,
}

// Depot is the folder.
type Depot struct {
	Dir string
	Now time.Time
}

func (d Depot) metadata(name string) string { return filepath.Join(d.Dir, "metadata", name+".json") }

func (d Depot) expires(role string) time.Time {
	return d.Now.Add(lasts[role]).UTC().Truncate(time.Second)
}

// Create begins a depot. threshold is how many of a role's keys must sign; one
// that is not named needs one.
func (d Depot) Create(keys Keys, threshold map[string]int) error {
	if _, err := os.Stat(d.metadata("timestamp")); err == nil {
		return fmt.Errorf("create depot: %s has one", d.Dir)
	}
	if err := durable.MkdirAll(filepath.Join(d.Dir, "metadata"), 0o755); err != nil {
		return err
	}
	root := metadata.Root(d.expires(metadata.ROOT))
	for _, role := range roles {
		if err := setKeys(&root.Signed, role, keys[role], threshold[role]); err != nil {
			return err
		}
	}
	if err := d.write(root, metadata.ROOT, "1.root", keys); err != nil {
		return err
	}
	targets := metadata.Targets(d.expires(metadata.TARGETS))
	if err := delegate(&targets.Signed, keys[release.RolloutRole], threshold[release.RolloutRole]); err != nil {
		return err
	}
	rollout := metadata.Targets(d.expires(release.RolloutRole))
	if err := errors.Join(d.write(targets, metadata.TARGETS, "1.targets", keys), d.write(rollout, release.RolloutRole, "1.rollout", keys)); err != nil {
		return err
	}
	snapshot := metadata.Snapshot(d.expires(metadata.SNAPSHOT))
	snapshot.Signed.Meta["rollout.json"] = metadata.MetaFile(1)
	if err := d.write(snapshot, metadata.SNAPSHOT, "1.snapshot", keys); err != nil {
		return err
	}
	return d.write(metadata.Timestamp(d.expires(metadata.TIMESTAMP)), metadata.TIMESTAMP, "timestamp", keys)
}

// setKeys gives a role exactly these keys.
func setKeys(root *metadata.RootType, role string, signers []signature.Signer, threshold int) error {
	for _, old := range slices.Clone(root.Roles[role].KeyIDs) {
		if err := root.RevokeKey(old, role); err != nil {
			return err
		}
	}
	threshold = max(threshold, 1)
	if len(signers) < threshold {
		return fmt.Errorf("role %s: got %d keys, want %d", role, len(signers), threshold)
	}
	for _, s := range signers {
		key, err := publicKey(s)
		if err != nil {
			return fmt.Errorf("role %s: %w", role, err)
		}
		if err := root.AddKey(key, role); err != nil {
			return err
		}
	}
	root.Roles[role].Threshold = threshold
	return nil
}

func publicKey(s signature.Signer) (*metadata.Key, error) {
	pub, err := s.PublicKey()
	if err != nil {
		return nil, err
	}
	return metadata.KeyFromPublicKey(pub)
}

// delegate lets the rollout role speak about rings, and about nothing else.
func delegate(targets *metadata.TargetsType, signers []signature.Signer, threshold int) error {
	role := metadata.DelegatedRole{Name: release.RolloutRole, Threshold: max(threshold, 1), Terminating: true, Paths: []string{"rings/*/*"}}
	targets.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	for _, s := range signers {
		key, err := publicKey(s)
		if err != nil {
			return fmt.Errorf("role %s: %w", release.RolloutRole, err)
		}
		targets.Delegations.Keys[key.ID()] = key
		role.KeyIDs = append(role.KeyIDs, key.ID())
	}
	if len(role.KeyIDs) < role.Threshold {
		return fmt.Errorf("role %s: got %d keys, want %d", release.RolloutRole, len(role.KeyIDs), role.Threshold)
	}
	targets.Delegations.Roles = []metadata.DelegatedRole{role}
	return nil
}

// Publish signs a release whose images lie in the depot already.
func (d Depot) Publish(r release.Release, keys Keys) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if _, err := release.Parse(text, r.Board, r.Version); err != nil {
		return err
	}
	for _, image := range r.Images {
		if err := d.checkImage(r, image); err != nil {
			return err
		}
	}
	for file, want := range r.Documents {
		text, err := os.ReadFile(filepath.Join(d.Dir, release.TargetsFolder, r.Board, r.Version, file))
		if err != nil {
			return fmt.Errorf("publish %s: %w", r.Version, err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(text)); got != want {
			return fmt.Errorf("publish %s: %s: got SHA-256 %s, want %s", r.Version, file, got, want)
		}
	}
	unlock, err := d.alone()
	if err != nil {
		return err
	}
	defer unlock()
	return d.change(metadata.TARGETS, release.Path(r.Board, r.Version), text, false, keys)
}

// checkImage reads an image back: what is signed is there and whole.
func (d Depot) checkImage(r release.Release, image release.Image) error {
	f, err := os.Open(filepath.Join(d.Dir, release.TargetsFolder, r.Board, r.Version, image.File))
	if err != nil {
		return fmt.Errorf("publish %s: %w", r.Version, err)
	}
	defer f.Close()
	tree, err := image.Tree()
	if err == nil {
		err = tree.Check(f)
	}
	if err != nil {
		return fmt.Errorf("publish %s: %s: %w", r.Version, image.File, err)
	}
	return nil
}

// Steer says what a ring of boxes runs; the release must be published.
func (d Depot) Steer(board, ring string, r release.Ring, keys Keys) error {
	unlock, err := d.alone()
	if err != nil {
		return err
	}
	defer unlock()
	return d.steer(board, ring, r, keys)
}

// steer is Steer with the depot locked.
func (d Depot) steer(board, ring string, r release.Ring, keys Keys) error {
	if err := release.Name("ring", ring); err != nil {
		return err
	}
	targets, err := load(metadata.Targets(), d, metadata.TARGETS)
	if err != nil {
		return err
	}
	if targets.Signed.Targets[release.Path(board, r.Version)] == nil {
		return fmt.Errorf("steer ring %s: release %s for %s is not published", ring, r.Version, board)
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := release.ParseRing(text); err != nil {
		return err
	}
	return d.change(release.RolloutRole, release.RingPath(board, ring), text, true, keys)
}

// Ring returns what a ring is told now.
func (d Depot) Ring(board, ring string) (release.Ring, error) {
	rollout, err := load(metadata.Targets(), d, release.RolloutRole)
	if err != nil {
		return release.Ring{}, err
	}
	name := release.RingPath(board, ring)
	info := rollout.Signed.Targets[name]
	if info == nil {
		return release.Ring{}, fmt.Errorf("ring %s of %s: %w", ring, board, fs.ErrNotExist)
	}
	text, err := os.ReadFile(d.hashed(name, info.Hashes["sha256"]))
	if err != nil {
		return release.Ring{}, err
	}
	return release.ParseRing(text)
}

// Rings lists the rings there are, as BOARD/RING.
func (d Depot) Rings() ([]string, error) {
	rollout, err := load(metadata.Targets(), d, release.RolloutRole)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(rollout.Signed.Targets)), nil
}

// hashed is where a small target lies, by its content.
func (d Depot) hashed(name string, sum []byte) string {
	dir, base := filepath.Split(name)
	return filepath.Join(d.Dir, release.TargetsFolder, dir, fmt.Sprintf("%x.%s", sum, base))
}

// change adds or replaces one small target of a role.
func (d Depot) change(role, name string, text []byte, replace bool, keys Keys) error {
	m, err := load(metadata.Targets(), d, role)
	if err != nil {
		return err
	}
	if m.Signed.Targets[name] != nil && !replace {
		return fmt.Errorf("publish %s: it is published already, and releases don't change", name)
	}
	info, err := metadata.TargetFile().FromBytes(name, text, "sha256")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(text)
	path := d.hashed(name, sum[:])
	if err := durable.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := durable.WriteFile(path, text, 0o644); err != nil {
		return err
	}
	m.Signed.Targets[name] = info
	m.Signed.Version++
	m.Signed.Expires = d.expires(role)
	m.ClearSignatures()
	if err := d.write(m, role, fmt.Sprintf("%d.%s", m.Signed.Version, role), keys); err != nil {
		return err
	}
	return d.announce(map[string]int64{role: m.Signed.Version}, keys)
}
