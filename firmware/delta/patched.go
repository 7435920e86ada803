package delta

import (
	"context"
	"io"
	"slices"

	"clinicgate/firmware/patch"
	"clinicgate/firmware/verity"
)

// patching is what a bringer knows of the patch from its seed. Without pieces there
// is none, or none that is good.
type patching struct {
	leaves []verity.Hash // of the seed
	seed   verity.Image
	tree   []byte // of the seed
	src    Source
	pieces []patch.Piece // in the order of the image's blocks
}

// findPatch looks whether the source has a patch for just this seed. It is a hint:
// without one, or with a bad one, blocks are fetched whole.
func (b *bringer) findPatch(ctx context.Context) {
	p := &b.patch
	if b.seed.Patch == nil || len(p.leaves) == 0 {
		return
	}
	var err error
	if p.seed, p.tree, err = verity.Tree(p.leaves); err != nil {
		return
	}
	p.src = b.seed.Patch(p.seed)
	head, err := b.patchBytes(ctx, 0, int64(patch.HeadSize))
	if err != nil {
		return
	}
	size, err := patch.EntriesSize(head)
	if err != nil || size == 0 {
		return
	}
	entries, err := b.patchBytes(ctx, int64(patch.HeadSize), size)
	if err != nil {
		return
	}
	p.pieces, _ = patch.Parse(entries, b.image.Blocks+b.image.TreeBlocks(), p.seed.Blocks+p.seed.TreeBlocks())
}

func (b *bringer) patchBytes(ctx context.Context, off, n int64) ([]byte, error) {
	r, err := b.patch.src.Range(ctx, off, n)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data := make([]byte, n)
	_, err = io.ReadFull(r, data)
	if err == nil {
		b.stats.Patch += n
	}
	return data, err
}

// piece makes one piece; false, and no more patches, when that can't be done.
func (b *bringer) piece(ctx context.Context, p patch.Piece) ([]byte, bool) {
	frame, err := b.patchBytes(ctx, p.At, p.Length)
	if err == nil {
		var data []byte
		if data, err = p.Apply(frame, b.old(p.SeedFirst, p.SeedBlocks)); err == nil {
			return data, true
		}
	}
	b.patch.pieces = nil
	return nil, false
}

// old is part of the seed with its tree behind it.
func (b *bringer) old(first, n int64) []byte {
	data := make([]byte, n*verity.Block)
	for i := range n {
		block := data[i*verity.Block:][:verity.Block]
		if at := first + i - b.patch.seed.Blocks; at >= 0 {
			copy(block, b.patch.tree[at*verity.Block:])
		} else {
			b.seed.block(block, first+i) // what can't be read makes wrong blocks, which are seen
		}
	}
	return data
}

// patchTree gets the tree from the patch.
func (b *bringer) patchTree(ctx context.Context) bool {
	made := int64(0)
	for _, p := range b.patch.pieces {
		if p.First < b.image.Blocks {
			continue
		}
		data, ok := b.piece(ctx, p)
		if !ok {
			return false
		}
		copy(b.tree[(p.First-b.image.Blocks)*verity.Block:], data)
		made += p.Blocks
	}
	var err error
	if made != b.image.TreeBlocks() {
		return false
	}
	if b.want, err = b.image.Leaves(b.tree); err != nil {
		b.patch.pieces = nil // of another image
		return false
	}
	b.stats.Patched += made
	return true
}

// patchRun makes the run of blocks from n on that one piece of the patch has.
func (b *bringer) patchRun(ctx context.Context, n int64) (end int64, ok bool, err error) {
	i := slices.IndexFunc(b.patch.pieces, func(p patch.Piece) bool { return p.First <= n && n < p.First+p.Blocks })
	if i < 0 {
		return n, false, nil
	}
	p := b.patch.pieces[i]
	data, ok := b.piece(ctx, p)
	if !ok {
		return n, false, nil
	}
	end = min(p.First+p.Blocks, b.image.Blocks)
	for at := n; at < end; at++ {
		block := data[(at-p.First)*verity.Block:][:verity.Block]
		if verity.Sum(block) != b.want[at] {
			b.patch.pieces = nil
			return at, at > n, nil // what was made so far is right; the rest is fetched
		}
		if err := b.write(at, block); err != nil {
			return at, false, err
		}
		b.stats.Patched++
	}
	return end, true, nil
}
