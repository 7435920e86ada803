// Package delta brings an image to a slot by fetching only the blocks the box does
// not have, and writes no block that is not what the image's root hash says. It
// keeps no notes: a stop anywhere is made good by looking at the slot again.
package delta

import (
	"context"
	"fmt"
	"io"

	"clinicgate/firmware/verity"
)

// Source is where an image, with its hash tree behind it, can be had in parts:
// n bytes from offset off.
type Source interface {
	Range(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// Slot is where the image goes. Sync returns once what was written outlives a
// power cut.
type Slot interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
}

// Seed is something that may have blocks of the image: the running slot. Its last
// block is filled up with zeros.
type Seed struct {
	io.ReaderAt
	Blocks int64
	// Patch, if set, is where a patch from just this seed to the image would be.
	// There may be none.
	Patch func(seed verity.Image) Source
}

// Stats tell what a Bring took, in blocks of 4096 bytes.
type Stats struct {
	Kept, Copied, Fetched int64
	Tree                  int64 // fetched too
	Patched               int64 // made from the seed by a patch, the tree's among them
	Patch                 int64 // bytes of that patch that were fetched
}

// Bytes is what came over the wire.
func (s Stats) Bytes() int64 { return (s.Fetched+s.Tree)*verity.Block + s.Patch }

const (
	// maxRun is the most blocks one request asks for; what a cut link costs.
	maxRun = 64
	// syncEvery is how many blocks may be lost to a power cut and be fetched again.
	syncEvery = 256
)

// Bring makes the slot hold the image, then reads all of it back. progress is told
// the blocks in place so far.
//
//	write the tree                    stop here: it is there next time, or fetched again
//	write blocks, sync now and then   stop here: those in place are kept next time
//	sync, read back                   stop here: the same
func Bring(ctx context.Context, image verity.Image, src Source, slot Slot, seed Seed, progress func(done, of int64)) (Stats, error) {
	b := bringer{image: image, src: src, slot: slot, seed: seed, progress: progress}
	b.index()
	b.findPatch(ctx)
	if err := b.leaves(ctx); err != nil {
		return b.stats, err
	}
	if err := b.blocks(ctx); err != nil {
		return b.stats, err
	}
	if err := slot.Sync(); err != nil {
		return b.stats, fmt.Errorf("sync slot: %w", err)
	}
	return b.stats, image.Check(slot)
}

// bringer is one Bring under way.
type bringer struct {
	image    verity.Image
	src      Source
	slot     Slot
	seed     Seed
	progress func(done, of int64)

	tree  []byte
	want  []verity.Hash
	have  map[verity.Hash]int64 // where in the seed a block is
	dirty int64                 // blocks written since the last sync
	patch patching
	stats Stats
}

// leaves gets the tree: from the slot, if an earlier Bring has left it there, or
// else from the source.
func (b *bringer) leaves(ctx context.Context) error {
	b.tree = make([]byte, b.image.TreeBlocks()*verity.Block)
	if n, _ := b.slot.ReadAt(b.tree, b.image.Blocks*verity.Block); n == len(b.tree) {
		var err error
		if b.want, err = b.image.Leaves(b.tree); err == nil {
			return nil
		}
	}
	if !b.patchTree(ctx) {
		if err := b.fetchTree(ctx); err != nil {
			return err
		}
	}
	if _, err := b.slot.WriteAt(b.tree, b.image.Blocks*verity.Block); err != nil {
		return fmt.Errorf("write hash tree: %w", err)
	}
	return nil
}

func (b *bringer) fetchTree(ctx context.Context) error {
	r, err := b.src.Range(ctx, b.image.Blocks*verity.Block, int64(len(b.tree)))
	if err != nil {
		return fmt.Errorf("fetch hash tree: %w", err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, b.tree); err != nil {
		return fmt.Errorf("fetch hash tree: %w", err)
	}
	b.stats.Tree = b.image.TreeBlocks()
	b.want, err = b.image.Leaves(b.tree)
	return err
}

// index finds what the seed has, up to where it can be read.
func (b *bringer) index() {
	b.have = map[verity.Hash]int64{}
	block := make([]byte, verity.Block)
	for n := range b.seed.Blocks {
		if !b.seed.block(block, n) {
			return
		}
		h := verity.Sum(block)
		b.have[h] = n
		b.patch.leaves = append(b.patch.leaves, h)
	}
}

// block reads block n; the last one may be a part.
func (s Seed) block(p []byte, n int64) bool {
	got, _ := s.ReadAt(p, n*verity.Block)
	clear(p[got:])
	return got == len(p) || got > 0 && n == s.Blocks-1
}

// blocks puts every block in its place.
func (b *bringer) blocks(ctx context.Context) error {
	for n := int64(0); n < b.image.Blocks; {
		if err := ctx.Err(); err != nil {
			return err
		}
		missing, err := b.local(n)
		if err != nil {
			return err
		}
		if missing {
			if n, err = b.fetch(ctx, n); err != nil {
				return err
			}
		} else {
			n++
		}
		b.progress(n, b.image.Blocks)
	}
	return nil
}

// local puts block n in place from what the box has, or reports it missing.
func (b *bringer) local(n int64) (missing bool, err error) {
	block := make([]byte, verity.Block)
	if got, _ := b.slot.ReadAt(block, n*verity.Block); got == len(block) && verity.Sum(block) == b.want[n] {
		b.stats.Kept++
		return false, nil
	}
	at, ok := b.have[b.want[n]]
	if !ok {
		return true, nil
	}
	if !b.seed.block(block, at) || verity.Sum(block) != b.want[n] {
		return true, nil // it was there a moment ago; the source has it, too
	}
	b.stats.Copied++
	return false, b.write(n, block)
}

// fetch gets a run of missing blocks that begins at n and returns where it ends.
// Blocks after the first count as missing when the seed lacks them; one that is in
// the slot already is fetched once more, which costs less than another request.
func (b *bringer) fetch(ctx context.Context, n int64) (end int64, err error) {
	if end, ok, err := b.patchRun(ctx, n); ok || err != nil {
		return end, err
	}
	for end = n + 1; end < b.image.Blocks && end-n < maxRun; end++ {
		if _, ok := b.have[b.want[end]]; ok {
			break
		}
	}
	r, err := b.src.Range(ctx, n*verity.Block, (end-n)*verity.Block)
	if err != nil {
		return n, fmt.Errorf("fetch blocks %d to %d: %w", n, end-1, err)
	}
	defer r.Close()
	block := make([]byte, verity.Block)
	for ; n < end; n++ {
		if _, err := io.ReadFull(r, block); err != nil {
			return n, fmt.Errorf("fetch block %d: %w", n, err)
		}
		if verity.Sum(block) != b.want[n] {
			return n, fmt.Errorf("fetch block %d: %w", n, verity.ErrCorrupt)
		}
		b.stats.Fetched++
		if err := b.write(n, block); err != nil {
			return n, err
		}
	}
	return end, nil
}

func (b *bringer) write(n int64, block []byte) error {
	if _, err := b.slot.WriteAt(block, n*verity.Block); err != nil {
		return fmt.Errorf("write block %d: %w", n, err)
	}
	if b.dirty++; b.dirty < syncEvery {
		return nil
	}
	b.dirty = 0
	if err := b.slot.Sync(); err != nil {
		return fmt.Errorf("sync slot: %w", err)
	}
	return nil
}
