// Package tuf learns which release a box is to run, and believes nobody but the
// holders of cloud ops' keys: everything it returns has passed TUF's checks (The
// Update Framework specification 1.0, section 5.3) against a root the image
// carries, whoever serves the files.
package tuf

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"clinicgate/firmware/durable"
	"clinicgate/firmware/release"
)

// Repository is where releases lie: any web server that knows ranges, another box,
// a folder on a stick. Nothing it says is believed.
type Repository interface {
	// Open returns n bytes of a file from offset off; n < 0: all from there. A file
	// that is not there is fs.ErrNotExist.
	Open(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
}

// metadataFolder is where a repository has its signed metadata.
const metadataFolder = "metadata"

// Client asks one repository for one box.
type Client struct {
	Repository  Repository
	Board, Ring string
	Root        []byte // the TUF root the image carries
	Dir         string // what was believed before; survives updates
	// Now is not before anything the box has ever been sure of: an expired promise
	// must not look fresh because a clock battery died.
	Now time.Time
}

// Bounds of what is read, in bytes. A repository that sends more is refused: that
// is TUF's endless data attack.
const (
	maxRoot      = 64 << 10
	maxTimestamp = 16 << 10
	maxSnapshot  = 512 << 10
	maxTargets   = 2 << 20
)

// scratch makes a folder to ask in. One that a power cut has left is removed.
func (c Client) scratch() (string, error) {
	const prefix = "asking-"
	left, err := filepath.Glob(filepath.Join(c.Dir, prefix+"*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(c.Dir, prefix)
}

// Wanted returns the release this box's ring is to run, and the ring's state. The
// caller decides whether the box is among its percent, and asks once at a time.
func (c Client) Wanted(ctx context.Context) (r release.Release, ring release.Ring, err error) {
	// The TUF library panics on some metadata that is not of its shape, before it
	// has looked at a signature.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("release metadata: not of TUF's shape: %v", p)
		}
	}()
	scratch, err := c.scratch()
	if err != nil {
		return r, ring, fmt.Errorf("release metadata: %w", err)
	}
	defer os.RemoveAll(scratch)
	up, err := c.refresh(ctx, scratch)
	if err != nil {
		return r, ring, err
	}
	text, err := target(up, scratch, release.RingPath(c.Board, c.Ring))
	if err != nil {
		return r, ring, err
	}
	if ring, err = release.ParseRing(text); err != nil {
		return r, ring, err
	}
	if text, err = target(up, scratch, release.Path(c.Board, ring.Version)); err != nil {
		return r, ring, err
	}
	if r, err = release.Parse(text, c.Board, ring.Version); err != nil {
		return r, ring, err
	}
	return r, ring, c.keep(scratch)
}

// refresh brings the metadata up to date, from root to targets, beginning with
// what was believed before.
func (c Client) refresh(ctx context.Context, scratch string) (*updater.Updater, error) {
	root := c.recall(scratch)
	up, err := updater.New(c.config(ctx, scratch, root))
	if err != nil {
		return nil, fmt.Errorf("release metadata: %w", err)
	}
	up.UnsafeSetRefTime(c.Now)
	if err := up.Refresh(); err != nil {
		return nil, fmt.Errorf("release metadata: %w", err)
	}
	return up, nil
}

func (c Client) config(ctx context.Context, scratch string, root []byte) *config.UpdaterConfig {
	return &config.UpdaterConfig{
		MaxRootRotations: 64, MaxDelegations: 4,
		RootMaxLength: maxRoot, TimestampMaxLength: maxTimestamp, SnapshotMaxLength: maxSnapshot, TargetsMaxLength: maxTargets,
		Fetcher: fetcher{ctx, c.Repository}, LocalTrustedRoot: root,
		LocalMetadataDir: scratch, LocalTargetsDir: scratch,
		RemoteMetadataURL: metadataFolder, RemoteTargetsURL: release.TargetsFolder, PrefixTargetsWithHash: true,
	}
}

// memory is what was believed, file by file, in one file: the TUF library's own
// files are renamed into place without being synced, and a power cut could leave
// an old one beside a new one.
func (c Client) memory() string { return filepath.Join(c.Dir, "believed.json") }

// recall lays out what was believed before and returns the root to begin with. It
// is the newest that was believed: an older repository can't make the box forget a
// rotation. Memory that can't be read is as good as none.
func (c Client) recall(scratch string) []byte {
	var kept map[string][]byte
	text, err := os.ReadFile(c.memory())
	if err != nil || json.Unmarshal(text, &kept) != nil {
		return c.Root
	}
	root := kept["root.json"]
	if !sound(kept) || version(root) < version(c.Root) {
		return c.Root
	}
	for name, text := range kept {
		if err := os.WriteFile(filepath.Join(scratch, name), text, 0o600); err != nil {
			return c.Root
		}
	}
	return root
}

// sound says whether every part of the memory is metadata of its kind.
func sound(kept map[string][]byte) (ok bool) {
	defer func() { ok = recover() == nil && ok }() // see Wanted
	for name, text := range kept {
		var err error
		switch name {
		case "root.json":
			_, err = metadata.Root().FromBytes(text)
		case "timestamp.json":
			_, err = metadata.Timestamp().FromBytes(text)
		case "snapshot.json":
			_, err = metadata.Snapshot().FromBytes(text)
		case "targets.json", release.RolloutRole + ".json":
			_, err = metadata.Targets().FromBytes(text)
		default:
			err = errors.ErrUnsupported
		}
		if err != nil {
			return false
		}
	}
	return true
}

// version of a root; 0 when it is none.
func version(root []byte) int64 {
	m, err := metadata.Root().FromBytes(root)
	if err != nil {
		return 0
	}
	return m.Signed.Version
}

// keep makes what is believed now outlive a power cut, all of it at once.
func (c Client) keep(scratch string) error {
	files, err := filepath.Glob(filepath.Join(scratch, "*.json"))
	if err != nil {
		return err
	}
	kept := map[string][]byte{}
	for _, f := range files {
		if kept[filepath.Base(f)], err = os.ReadFile(f); err != nil {
			return fmt.Errorf("keep release metadata: %w", err)
		}
	}
	text, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	return durable.WriteFile(c.memory(), text, 0o600)
}

// target returns a small target's content.
func target(up *updater.Updater, scratch, name string) ([]byte, error) {
	info, err := up.GetTargetInfo(name)
	if err != nil {
		return nil, fmt.Errorf("release: %s: %w", name, err)
	}
	if info.Length > maxTargets {
		return nil, fmt.Errorf("release: %s: got %d bytes, want %d at most", name, info.Length, maxTargets)
	}
	_, text, err := up.DownloadTarget(info, filepath.Join(scratch, "target"), "")
	if err != nil {
		return nil, fmt.Errorf("release: %s: %w", name, err)
	}
	return text, nil
}

// fetcher reads whole small files of a repository for the TUF library.
type fetcher struct {
	ctx  context.Context
	repo Repository
}

// DownloadFile returns a file, or an error when it is longer than max.
func (f fetcher) DownloadFile(name string, max int64, _ time.Duration) ([]byte, error) {
	plain, err := url.PathUnescape(name)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	r, err := f.repo.Open(f.ctx, strings.TrimPrefix(plain, "/"), 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: http.StatusNotFound, URL: name}
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", name, err)
	}
	if int64(len(data)) > max {
		return nil, &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf("fetch %s: got more than %d bytes", name, max)}
	}
	return data, nil
}
