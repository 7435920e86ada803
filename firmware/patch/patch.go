// Package patch says in few bytes how one image differs from another: pieces of
// the new image, each compressed with the place in the old one it was made from as
// its dictionary. A small change of a program moves code and compresses
// differently, so that few blocks stay the same; nearly all of their bytes do.
//
// A patch is a hint and is not believed: whoever applies it checks each block, as
// if it had come from anywhere. What is read here is bounded before it is decoded.
//
//	"CGPATCH1"; number of pieces; then for each piece its first block, blocks, the
//	old image's first block, blocks, bytes of the frame; then the frames (RFC 8878)
//
// All numbers are 32 bits, big end first. An image's blocks are followed by those of
// its hash tree, which is patched like the rest.
package patch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"clinicgate/firmware/verity"
)

const (
	magic     = "CGPATCH1"
	entrySize = 20
	// HeadSize is the bytes before the pieces' entries.
	HeadSize = len(magic) + 4

	maxPieces = 16384
	maxBlocks = 256  // of a piece: 1 MiB
	maxSeed   = 1024 // of a piece's dictionary: 4 MiB
	// slack is how far around its likely place a piece's old bytes are looked for.
	slack = 64
	// window must hold a dictionary and a piece.
	window = 8 << 20
)

// Piece is a run of the new image's blocks.
type Piece struct {
	First, Blocks         int64
	SeedFirst, SeedBlocks int64 // in the old image
	At, Length            int64 // of its frame, in bytes of the patch
}

// ErrBad is wrapped by what Parse and Apply say of a patch that is none.
var ErrBad = errors.New("not a usable patch")

// Name is what the patch to an image's file is called for those who have seed.
func Name(file string, seed verity.Image) string {
	return fmt.Sprintf("%s.from-%x", file, seed.Root[:16])
}

// EntriesSize reads a patch's first HeadSize bytes: how many bytes of entries follow.
func EntriesSize(head []byte) (int64, error) {
	if len(head) != HeadSize || string(head[:len(magic)]) != magic {
		return 0, fmt.Errorf("%w: got %.12q, want it to begin with %s", ErrBad, head, magic)
	}
	n := binary.BigEndian.Uint32(head[len(magic):])
	if n > maxPieces {
		return 0, fmt.Errorf("%w: got %d pieces, want %d at most", ErrBad, n, maxPieces)
	}
	return int64(n) * entrySize, nil
}

// Parse reads the entries. Pieces lie within an image of size blocks, one after the
// other, and their dictionaries within a seed of that many.
func Parse(entries []byte, size, seed int64) ([]Piece, error) {
	if len(entries)%entrySize != 0 {
		return nil, fmt.Errorf("%w: got %d bytes of entries, want a multiple of %d", ErrBad, len(entries), entrySize)
	}
	var all []Piece
	at, next := int64(HeadSize+len(entries)), int64(0)
	for ; len(entries) > 0; entries = entries[entrySize:] {
		number := func(i int) int64 { return int64(binary.BigEndian.Uint32(entries[4*i:])) }
		p := Piece{First: number(0), Blocks: number(1), SeedFirst: number(2), SeedBlocks: number(3), At: at, Length: number(4)}
		if p.First < next || p.Blocks < 1 || p.Blocks > maxBlocks || p.First+p.Blocks > size {
			return nil, fmt.Errorf("%w: got a piece of %d blocks at %d, want 1 to %d between %d and %d", ErrBad, p.Blocks, p.First, maxBlocks, next, size)
		}
		if p.SeedBlocks < 1 || p.SeedBlocks > maxSeed || p.SeedFirst+p.SeedBlocks > seed {
			return nil, fmt.Errorf("%w: got a dictionary of %d blocks at %d, want 1 to %d within %d", ErrBad, p.SeedBlocks, p.SeedFirst, maxSeed, seed)
		}
		if p.Length < 1 || p.Length > 2*p.Blocks*verity.Block {
			return nil, fmt.Errorf("%w: got a frame of %d bytes for %d blocks", ErrBad, p.Length, p.Blocks)
		}
		all = append(all, p)
		at, next = at+p.Length, p.First+p.Blocks
	}
	return all, nil
}

// Apply makes a piece of its frame and its place in the old image.
func (p Piece) Apply(frame, seed []byte) ([]byte, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderDictRaw(1, seed),
		zstd.WithDecoderMaxWindow(window), zstd.WithDecoderMaxMemory(uint64(p.Blocks*verity.Block)))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	out, err := d.DecodeAll(frame, make([]byte, 0, p.Blocks*verity.Block))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBad, err)
	}
	if int64(len(out)) != p.Blocks*verity.Block {
		return nil, fmt.Errorf("%w: got a piece of %d bytes, want %d", ErrBad, len(out), p.Blocks*verity.Block)
	}
	return out, nil
}

// Write makes the patch from one image to another, both with their trees.
func Write(w io.Writer, from, to verity.Image, old, fresh []byte) error {
	m := maker{old: old, fresh: fresh, at: map[verity.Hash]int64{}, head: []byte(magic)}
	for n := range from.Blocks {
		m.at[verity.Sum(block(old, n))] = n
	}
	for n := int64(0); n < to.Blocks; n++ {
		if _, ok := m.at[verity.Sum(block(fresh, n))]; ok {
			continue
		}
		end := n + 1
		for end < to.Blocks && m.missing(end) {
			end++
		}
		if err := m.run(n, end, m.shift(n, end, from.Blocks, to.Blocks)); err != nil {
			return err
		}
		n = end
	}
	if err := m.run(to.Blocks, to.Blocks+to.TreeBlocks(), [2]int64{from.Blocks - to.Blocks, from.Blocks - to.Blocks}); err != nil {
		return err
	}
	m.head = binary.BigEndian.AppendUint32(m.head, uint32(len(m.entries)/entrySize))
	for _, part := range [][]byte{m.head, m.entries, m.frames} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write patch: %w", err)
		}
	}
	return nil
}

func block(image []byte, n int64) []byte { return image[n*verity.Block:][:verity.Block] }

// maker is one patch being made.
type maker struct {
	old, fresh []byte
	at         map[verity.Hash]int64 // where a block is in the old image

	head, entries, frames []byte
}

func (m *maker) missing(n int64) bool {
	_, ok := m.at[verity.Sum(block(m.fresh, n))]
	return !ok
}

// shift is by how much a run's old place differs from its new one, as its neighbours
// on either side show it. The images' ends are neighbours, too.
func (m *maker) shift(first, end, from, to int64) (by [2]int64) {
	if first > 0 {
		by[0] = m.at[verity.Sum(block(m.fresh, first-1))] - (first - 1)
	}
	if end == to {
		by[1] = from - to
	} else {
		by[1] = m.at[verity.Sum(block(m.fresh, end))] - end
	}
	return by
}

// run packs blocks first to end, in pieces.
func (m *maker) run(first, end int64, shift [2]int64) error {
	size := int64(len(m.old)) / verity.Block
	for ; first < end; first += maxBlocks {
		n := min(end-first, maxBlocks)
		low := max(first+min(shift[0], shift[1])-slack, 0)
		high := min(first+n+max(shift[0], shift[1])+slack, size)
		low = min(low, size-1)
		high = max(min(high, low+maxSeed), low+1)
		frame, err := pack(m.fresh[first*verity.Block:(first+n)*verity.Block], m.old[low*verity.Block:high*verity.Block])
		if err != nil {
			return fmt.Errorf("make patch: blocks %d to %d: %w", first, first+n-1, err)
		}
		for _, v := range []int64{first, n, low, high - low, int64(len(frame))} {
			m.entries = binary.BigEndian.AppendUint32(m.entries, uint32(v))
		}
		m.frames = append(m.frames, frame...)
	}
	return nil
}

func pack(data, seed []byte) ([]byte, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(window), zstd.WithEncoderDictRaw(1, seed), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return e.EncodeAll(data, nil), nil
}
