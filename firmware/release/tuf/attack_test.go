package tuf

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"clinicgate/firmware/depot"
	"clinicgate/firmware/release"
	"clinicgate/firmware/verity"
)

const board = "qemu-x86_64"

var day0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func newKeys(t *testing.T, n int) (all []signature.Signer) {
	t.Helper()
	for range n {
		_, key, err := ed25519.GenerateKey(nil)
		must(t, err)
		s, err := signature.LoadSigner(key, crypto.SHA256)
		must(t, err)
		all = append(all, s)
	}
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ops is cloud ops with its depot, and a box that trusts it.
type ops struct {
	t    *testing.T
	dir  string
	keys depot.Keys
	box  Client
	at   time.Time
}

func newOps(t *testing.T) *ops {
	t.Helper()
	o := &ops{t: t, dir: t.TempDir(), at: day0, keys: depot.Keys{
		metadata.ROOT: newKeys(t, 2), metadata.TARGETS: newKeys(t, 2), metadata.SNAPSHOT: newKeys(t, 1),
		metadata.TIMESTAMP: newKeys(t, 1), release.RolloutRole: newKeys(t, 1),
	}}
	must(t, o.depot().Create(o.keys, map[string]int{metadata.ROOT: 2, metadata.TARGETS: 2}))
	root, err := os.ReadFile(filepath.Join(o.dir, "metadata/1.root.json"))
	must(t, err)
	o.box = Client{Repository: folder(o.dir), Board: board, Ring: "all", Root: root, Dir: t.TempDir(), Now: day0}
	o.publish("1.0")
	o.steer("1.0")
	return o
}

func (o *ops) depot() depot.Depot { return depot.Depot{Dir: o.dir, Now: o.at} }

// made puts a release's images into the depot, unsigned.
func (o *ops) made(board, version string) release.Release {
	o.t.Helper()
	dir := filepath.Join(o.dir, release.TargetsFolder, board, version)
	must(o.t, os.MkdirAll(dir, 0o755))
	r := release.Release{Version: version, Board: board, Images: map[string]release.Image{}}
	for _, n := range []string{"root", "a.efi", "b.efi"} {
		tree, hashes, err := verity.Build(strings.NewReader(n + version))
		must(o.t, err)
		data := make([]byte, verity.Block)
		copy(data, n+version)
		must(o.t, os.WriteFile(filepath.Join(dir, n+".img"), append(data, hashes...), 0o644))
		r.Images[n] = release.Image{File: n + ".img", Verity: tree.String(), Length: int64(len(n + version)), SHA256: strings.Repeat("0", 64)}
	}
	return r
}

func (o *ops) publish(version string) {
	o.t.Helper()
	must(o.t, o.depot().Publish(o.made(board, version), o.keys))
}

func (o *ops) steer(version string) {
	o.t.Helper()
	must(o.t, o.depot().Steer(board, "all", release.Ring{Version: version, Percent: 100}, o.keys))
}

// asks is what the box believes it is to run.
func (o *ops) asks() (string, error) {
	r, _, err := o.box.Wanted(context.Background())
	return r.Version, err
}

// saved keeps a copy of the depot's metadata, as an attacker may.
func (o *ops) saved() map[string][]byte {
	o.t.Helper()
	all := map[string][]byte{}
	files, err := filepath.Glob(filepath.Join(o.dir, "metadata/*.json"))
	must(o.t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		must(o.t, err)
		all[filepath.Base(f)] = text
	}
	return all
}

func (o *ops) put(name string, text []byte) {
	o.t.Helper()
	must(o.t, os.WriteFile(filepath.Join(o.dir, "metadata", name), text, 0o644))
}

// folder is a repository on a disk.
type folder string

func (f folder) Open(_ context.Context, name string, off, n int64) (io.ReadCloser, error) {
	text, err := os.ReadFile(filepath.Join(string(f), name))
	if err != nil {
		return nil, err
	}
	if n < 0 {
		n = int64(len(text)) - off
	}
	return io.NopCloser(bytes.NewReader(text[off : off+n])), nil
}

func TestWanted(t *testing.T) {
	o := newOps(t)
	for _, v := range []string{"1.0", "1.1"} {
		if v != "1.0" {
			o.publish(v)
			o.steer(v)
		}
		if got, err := o.asks(); err != nil || got != v {
			t.Errorf("got %q, %v, want %s", got, err, v)
		}
	}
}

// The attacks of TUF's specification (1.0, section 1.5.2) and of our own making,
// each by name. A box that has believed something before is attacked, because that
// is the harder case for the attacker.
func TestAttackTUF(t *testing.T) {
	for name, c := range map[string]struct {
		attack func(t *testing.T, o *ops)
		want   string // in the refusal
	}{
		"arbitrary software": {func(t *testing.T, o *ops) {
			evil := depot.Keys{metadata.TARGETS: newKeys(t, 2), metadata.SNAPSHOT: newKeys(t, 1), metadata.TIMESTAMP: newKeys(t, 1)}
			must(t, o.depot().Publish(o.made(board, "6.6"), evil))
		}, "not enough signatures"},
		"wrong key for the targets": {func(t *testing.T, o *ops) {
			keys := depot.Keys{metadata.TARGETS: newKeys(t, 2), metadata.SNAPSHOT: o.keys[metadata.SNAPSHOT], metadata.TIMESTAMP: o.keys[metadata.TIMESTAMP]}
			must(t, o.depot().Publish(o.made(board, "6.6"), keys))
		}, "not enough signatures"},
		"threshold short": {func(t *testing.T, o *ops) {
			keys := depot.Keys{metadata.TARGETS: o.keys[metadata.TARGETS][:1], metadata.SNAPSHOT: o.keys[metadata.SNAPSHOT], metadata.TIMESTAMP: o.keys[metadata.TIMESTAMP]}
			must(t, o.depot().Publish(o.made(board, "6.6"), keys))
		}, "not enough signatures"},
		"one signature twice": {func(t *testing.T, o *ops) {
			one := o.keys[metadata.TARGETS][0]
			keys := depot.Keys{metadata.TARGETS: {one, one}, metadata.SNAPSHOT: o.keys[metadata.SNAPSHOT], metadata.TIMESTAMP: o.keys[metadata.TIMESTAMP]}
			must(t, o.depot().Publish(o.made(board, "6.6"), keys))
		}, "multiple signatures"},
		"endless data": {func(t *testing.T, o *ops) {
			o.put("timestamp.json", bytes.Repeat([]byte(" "), 1<<20))
		}, "got more than 16384 bytes"},
		"freeze": {func(t *testing.T, o *ops) {
			o.box.Now = day0.Add(8 * 24 * time.Hour)
		}, "expired"},
		"rollback of everything": {func(t *testing.T, o *ops) {
			old := o.saved()
			o.publish("1.1")
			o.steer("1.1")
			if got, err := o.asks(); err != nil || got != "1.1" {
				t.Fatal(got, err)
			}
			for n, text := range old {
				o.put(n, text)
			}
		}, "version"},
		"rollback of one role": {func(t *testing.T, o *ops) {
			if _, err := o.asks(); err != nil {
				t.Fatal(err)
			}
			snapshot, err := metadata.Snapshot().FromFile(filepath.Join(o.dir, "metadata/3.snapshot.json"))
			must(t, err)
			snapshot.Signed.Version = 4
			snapshot.Signed.Meta["rollout.json"] = metadata.MetaFile(1) // before ring "all" was told 1.0
			o.sign(snapshot, metadata.SNAPSHOT, "4.snapshot.json")
			o.point(4)
		}, "version"},
		"mix and match": {func(t *testing.T, o *ops) {
			old := o.saved()
			o.publish("1.1")
			o.put("3.targets.json", old["2.targets.json"]) // an old file under the new name
		}, "version"},
		"fast forward": {func(t *testing.T, o *ops) {
			snapshot, err := metadata.Snapshot().FromFile(filepath.Join(o.dir, "metadata/3.snapshot.json"))
			must(t, err)
			snapshot.Signed.Version = 1 << 40
			o.sign(snapshot, metadata.SNAPSHOT, "4.snapshot.json")
			o.point(4)
		}, "version"},
		"a release by the rollout key": {func(t *testing.T, o *ops) {
			o.made(board, "6.6")
			r := o.made(board, "6.6")
			text, err := json.Marshal(r)
			must(t, err)
			o.smuggle(release.Path(board, "6.6"), text)
			ring, err := json.Marshal(release.Ring{Version: "6.6", Percent: 100})
			must(t, err)
			o.smuggle(release.RingPath(board, "all"), ring)
		}, "not found"},
		"a release for another board": {func(t *testing.T, o *ops) {
			other := o.made("toaster", "1.1")
			must(t, o.depot().Publish(other, o.keys))
			text, err := json.Marshal(other)
			must(t, err)
			o.resign(release.Path(board, "1.1"), text)
			o.steer("1.1")
		}, "got one for board"},
		"a version that climbs out of its folder": {func(t *testing.T, o *ops) {
			ring, err := json.Marshal(release.Ring{Version: "../../etc", Percent: 100})
			must(t, err)
			o.smuggle(release.RingPath(board, "all"), ring)
		}, "want up to 64 letters"},
		"a type that is none": {func(t *testing.T, o *ops) {
			o.put("timestamp.json", []byte(`{"signed":{"_type":7},"signatures":[]}`))
		}, "release metadata"},
		"garbage": {func(t *testing.T, o *ops) {
			o.put("timestamp.json", []byte(`{"signed": [`))
		}, "release metadata"},
		"nothing there": {func(t *testing.T, o *ops) {
			must(t, os.Remove(filepath.Join(o.dir, "metadata/timestamp.json")))
		}, "404"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOps(t)
			if got, err := o.asks(); err != nil || got != "1.0" {
				t.Fatal(got, err)
			}
			c.attack(t, o)
			got, err := o.asks()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the box believes %q, %v; want a refusal with %q", got, err, c.want)
			}
		})
	}
}

// sign puts one role's metadata in place, signed with its true keys: whoever holds
// one online key can do so.
func (o *ops) sign(m interface {
	Sign(signature.Signer) (*metadata.Signature, error)
	ClearSignatures()
	ToBytes(bool) ([]byte, error)
}, role, file string) {
	o.t.Helper()
	m.ClearSignatures()
	for _, k := range o.keys[role] {
		_, err := m.Sign(k)
		must(o.t, err)
	}
	text, err := m.ToBytes(true)
	must(o.t, err)
	o.put(file, text)
}

// point lets the timestamp name a snapshot.
func (o *ops) point(snapshot int64) {
	o.t.Helper()
	ts, err := metadata.Timestamp().FromFile(filepath.Join(o.dir, "metadata/timestamp.json"))
	must(o.t, err)
	ts.Signed.Version++
	ts.Signed.Meta["snapshot.json"] = metadata.MetaFile(snapshot)
	o.sign(ts, metadata.TIMESTAMP, "timestamp.json")
}

// smuggle adds a target by the rollout role, without its tool's checks.
func (o *ops) smuggle(name string, text []byte) { o.inject(release.RolloutRole, name, text) }

// resign adds one by the targets role: cloud ops' own mistake.
func (o *ops) resign(name string, text []byte) { o.inject(metadata.TARGETS, name, text) }

func (o *ops) inject(role, name string, text []byte) {
	o.t.Helper()
	ts, err := metadata.Timestamp().FromFile(filepath.Join(o.dir, "metadata/timestamp.json"))
	must(o.t, err)
	n := ts.Signed.Meta["snapshot.json"].Version
	snapshot, err := metadata.Snapshot().FromFile(filepath.Join(o.dir, fmt.Sprintf("metadata/%d.snapshot.json", n)))
	must(o.t, err)
	v := snapshot.Signed.Meta[role+".json"].Version
	m, err := metadata.Targets().FromFile(filepath.Join(o.dir, fmt.Sprintf("metadata/%d.%s.json", v, role)))
	must(o.t, err)
	info, err := metadata.TargetFile().FromBytes(name, text, "sha256")
	must(o.t, err)
	m.Signed.Targets[name] = info
	m.Signed.Version++
	path := filepath.Join(o.dir, release.TargetsFolder, filepath.Dir(name), fmt.Sprintf("%x.%s", []byte(info.Hashes["sha256"]), filepath.Base(name)))
	must(o.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(o.t, os.WriteFile(path, text, 0o644))
	o.sign(m, role, fmt.Sprintf("%d.%s.json", v+1, role))
	snapshot.Signed.Meta[role+".json"] = metadata.MetaFile(v + 1)
	snapshot.Signed.Version = n + 1
	o.sign(snapshot, metadata.SNAPSHOT, fmt.Sprintf("%d.snapshot.json", n+1))
	o.point(n + 1)
}

// Keys are stolen, then rotated: the box follows the new root and no longer
// believes the old keys, also when it is shown the old depot again.
func TestKeyCompromiseThenRotation(t *testing.T) {
	o := newOps(t)
	stolen := o.keys
	if _, err := o.asks(); err != nil {
		t.Fatal(err)
	}
	fresh := depot.Keys{
		metadata.ROOT: newKeys(t, 2), metadata.TARGETS: newKeys(t, 2), metadata.SNAPSHOT: newKeys(t, 1), metadata.TIMESTAMP: newKeys(t, 1),
	}
	must(t, o.depot().Rotate(fresh, map[string]int{metadata.ROOT: 2, metadata.TARGETS: 2}, stolen))
	o.keys = depot.Keys{
		metadata.ROOT: fresh[metadata.ROOT], metadata.TARGETS: fresh[metadata.TARGETS], metadata.SNAPSHOT: fresh[metadata.SNAPSHOT],
		metadata.TIMESTAMP: fresh[metadata.TIMESTAMP], release.RolloutRole: stolen[release.RolloutRole],
	}
	o.publish("1.1")
	o.steer("1.1")
	if got, err := o.asks(); err != nil || got != "1.1" {
		t.Fatalf("after the rotation: %q, %v", got, err)
	}
	must(t, o.depot().Publish(o.made(board, "6.6"), stolen))
	if got, err := o.asks(); err == nil {
		t.Errorf("the stolen keys still speak: %q", got)
	}
	must(t, os.Remove(filepath.Join(o.dir, "metadata/2.root.json"))) // hide the rotation
	if got, err := o.asks(); err == nil {
		t.Errorf("the box forgot the rotation: %q", got)
	}
}

// Whatever lies in the box's folder, it can begin again.
func TestDamagedMemory(t *testing.T) {
	for _, damage := range []string{"", "{", "\x00\x00\x00\x00", `{"root.json":"e30="}`, `{"root.json":"eyJzaWduZWQiOnt9fQ==","../x":""}`} {
		o := newOps(t)
		if _, err := o.asks(); err != nil {
			t.Fatal(err)
		}
		must(t, os.WriteFile(filepath.Join(o.box.Dir, "believed.json"), []byte(damage), 0o600))
		if got, err := o.asks(); err != nil || got != "1.0" {
			t.Errorf("after %q: %q, %v", damage, got, err)
		}
	}
}

func TestDepotRefuses(t *testing.T) {
	o := newOps(t)
	if err := o.depot().Publish(o.made(board, "1.0"), o.keys); err == nil || !strings.Contains(err.Error(), "published already") {
		t.Errorf("a release was changed: %v", err)
	}
	if err := o.depot().Steer(board, "all", release.Ring{Version: "9.9", Percent: 100}, o.keys); err == nil {
		t.Error("a ring was sent to a release that is not there")
	}
	r := o.made(board, "1.2")
	must(t, os.WriteFile(filepath.Join(o.dir, release.TargetsFolder, board, "1.2/root.img"), make([]byte, verity.Block), 0o644))
	if err := o.depot().Publish(r, o.keys); !errors.Is(err, verity.ErrCorrupt) {
		t.Errorf("a damaged image was signed: %v", err)
	}
	if err := o.depot().Create(o.keys, nil); err == nil {
		t.Error("a depot was made over another")
	}
	halted := release.Ring{Version: "1.0", Percent: 100, Halted: "boxes fall back"}
	must(t, o.depot().Steer(board, "all", halted, o.keys))
	if got, err := o.depot().Ring(board, "all"); err != nil || got != halted {
		t.Errorf("got %+v, %v", got, err)
	}
}
