package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"clinicgate/firmware/blockdev"
	"clinicgate/firmware/delta"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/patch"
	"clinicgate/firmware/release"
	"clinicgate/firmware/release/tuf"
	"clinicgate/firmware/slot"
	"clinicgate/firmware/update/source"
	"clinicgate/firmware/verity"
	"clinicgate/firmware/wire"
)

// The root that TUF's trust begins with; the image carries it, the site may carry
// another with newer keys.
const rootFile = "/etc/clinicgate/root.json"

// once asks the depot and does all that can be done now.
func (u *updater) once(ctx context.Context) {
	err := u.try(ctx)
	where := u.cfg.Depot.Redacted()
	if err == nil || ctx.Err() != nil {
		u.env.Faults.Clear("update", where)
		return
	}
	u.env.Faults.Raise(wire.Fault{
		ID: "update", Severity: wire.Warning, Where: where, What: err.Error(),
		Do: "nothing, it is tried again; if it stays for days, tell cloud ops",
	})
	u.say(wire.UpdateIdle, err.Error())
}

func (u *updater) try(ctx context.Context) error {
	depot := source.NewWeb(u.cfg.Depot)
	facts := u.facts()
	if facts.Init == nil {
		return errors.New("init publishes nothing yet")
	}
	r, ring, err := u.ask(ctx, depot, facts.Init.Board)
	if err != nil {
		return err
	}
	u.change(func(s *wire.Update) { s.Wanted, s.Asked = r.Version, time.Now().UTC().Truncate(time.Second) })
	if why := facts.Wanted(r, ring); why != "" {
		u.say(wire.UpdateIdle, why)
		return nil
	}
	to := slot.Name(facts.Init.Slot).Other()
	if err := u.fetch(ctx, depot, r, to); err != nil {
		return err
	}
	if why := u.facts().Restart(); why != "" {
		u.say(wire.UpdateWaiting, why)
		return nil
	}
	u.say(wire.UpdateArmed, "")
	return u.arm(ctx, r, to)
}

// ask learns what the ring is to run. The time is never before one at which the
// depot was believed: a dead clock battery must not make old promises look fresh.
func (u *updater) ask(ctx context.Context, depot source.Web, board string) (release.Release, release.Ring, error) {
	root, err := os.ReadFile(rootFile)
	if err != nil {
		return release.Release{}, release.Ring{}, fmt.Errorf("this image trusts nobody's releases: %w", err)
	}
	now := time.Now()
	if fi, err := os.Stat(u.path("believed.json")); err == nil && fi.ModTime().After(now) {
		now = fi.ModTime()
	}
	c := tuf.Client{Repository: depot, Board: board, Ring: u.cfg.Ring, Root: root, Dir: u.env.State, Now: now}
	return c.Wanted(ctx)
}

// fetch brings the root filesystem into the other slot and its kernel image beside
// our state. Both say by themselves how far an earlier try has come.
func (u *updater) fetch(ctx context.Context, depot source.Web, r release.Release, to slot.Name) error {
	running, err := os.Open("/dev/dm-0")
	if err != nil {
		return fmt.Errorf("read the running slot: %w", err)
	}
	defer running.Close()
	dev, err := blockdev.Finder{Sys: "/sys", Dev: "/dev"}.Partition("root-" + string(to))
	if err != nil {
		return err
	}
	part, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open slot %s: %w", to, err)
	}
	defer part.Close()
	if err := fits(part, r.Images["root"]); err != nil {
		return fmt.Errorf("slot %s: %w", to, err)
	}
	u.change(func(s *wire.Update) { s.Fetched, s.Done, s.Of = 0, 0, 0 })
	if err := u.bring(ctx, depot, r, "root", part, running); err != nil {
		return err
	}
	return u.fetchKernel(ctx, depot, r, to)
}

// fits says whether an image and its tree have room in a partition, before a byte
// of it is fetched.
func fits(part io.Seeker, image release.Image) error {
	tree, err := image.Tree()
	if err != nil {
		return err
	}
	room, err := part.Seek(0, io.SeekEnd)
	if err == nil && tree.Size() > room {
		err = fmt.Errorf("the release's root filesystem has %d bytes, there is room for %d", tree.Size(), room)
	}
	return err
}

// fetchKernel brings the slot's kernel image, with the running one as its seed.
func (u *updater) fetchKernel(ctx context.Context, depot source.Web, r release.Release, to slot.Name) error {
	name := string(to) + ".efi"
	seed, err := os.Open(u.path(string(to.Other()) + ".efi"))
	if err != nil {
		seed = nil // nothing to copy from, all is fetched
	} else {
		defer seed.Close()
	}
	file, err := os.OpenFile(u.path(name+".part"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := u.bring(ctx, depot, r, name, file, seed); err != nil {
		return err
	}
	// The finished image gets its name only when it is what was signed, byte by byte.
	return finish(file, r.Images[name], u.path(name))
}

// finish writes the first bytes of a brought image to path, if their hash is right.
func finish(part io.ReaderAt, image release.Image, path string) error {
	data := make([]byte, image.Length)
	if _, err := part.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read kernel image: %w", err)
	}
	if got := sha256.Sum256(data); hex.EncodeToString(got[:]) != image.SHA256 {
		return fmt.Errorf("kernel image: got SHA-256 %x, want %s", got, image.SHA256)
	}
	return durable.WriteFile(path, data, 0o644)
}

// bring fetches what is missing of one image.
func (u *updater) bring(ctx context.Context, depot source.Web, r release.Release, name string, to delta.Slot, from *os.File) error {
	image := r.Images[name]
	tree, err := image.Tree()
	if err != nil {
		return err
	}
	folder := path.Join(release.TargetsFolder, r.Board, r.Version)
	var seed delta.Seed
	if from != nil {
		size, err := from.Seek(0, io.SeekEnd)
		if err != nil {
			return fmt.Errorf("read the running slot: %w", err)
		}
		seed = delta.Seed{ReaderAt: from, Blocks: (size + verity.Block - 1) / verity.Block, Patch: func(have verity.Image) delta.Source {
			return remote{depot, path.Join(folder, patch.Name(image.File, have))}
		}}
	}
	shown := int64(-1)
	stats, err := delta.Bring(ctx, tree, remote{depot, path.Join(folder, image.File)}, to, seed,
		func(done, of int64) {
			if step := done * 50 / of; step != shown {
				shown = step
				u.change(func(s *wire.Update) {
					s.State, s.Why, s.Done, s.Of = wire.UpdateFetching, name, done*verity.Block, of*verity.Block
				})
			}
		})
	u.change(func(s *wire.Update) { s.Fetched += stats.Bytes() })
	u.env.Log.Info("brought", "release", r.Version, "image", name, "fetched", stats.Bytes(), "kept_blocks", stats.Kept, "copied_blocks", stats.Copied, "patched_blocks", stats.Patched, "err", err)
	return err
}

// remote is one file of a depot.
type remote struct {
	depot source.Web
	name  string
}

func (r remote) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	return r.depot.Open(ctx, r.name, off, n)
}

// arm has init start the release on trial.
func (u *updater) arm(ctx context.Context, r release.Release, to slot.Name) error {
	tunnel := "0"
	if n := read[wire.Net](u, wire.NetFile); n != nil {
		for _, t := range n.Tunnels {
			if t.State == wire.TunnelUp {
				tunnel = "1"
			}
		}
	}
	return u.init.Slot(ctx, "arm", map[string][]string{
		"version": {r.Version}, "sha256": {r.Images[string(to)+".efi"].SHA256}, "tunnel": {tunnel},
	})
}
