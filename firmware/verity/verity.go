// Package verity computes and checks dm-verity hash trees, so that whoever knows
// one root hash knows every block of a root filesystem: the image build appends
// the tree, the kernel checks each block as it is read, an update compares leaves.
//
// The format is the kernel's version 1 with SHA-256 and no superblock (Linux,
// Documentation/admin-guide/device-mapper/verity.rst): blocks of 4096 bytes, the
// salt hashed before each, levels stored from the top down.
package verity

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

const (
	// Block is the size in bytes of data and hash blocks.
	Block = 4096
	// perBlock is how many hashes a hash block holds.
	perBlock = Block / sha256.Size
	// MaxBlocks bounds what is taken for an image: 4 GiB.
	MaxBlocks = 1 << 20
)

// Salt is the same for every release: equal blocks then have equal leaves, and an
// update finds what it already has. It keeps nothing secret.
var Salt = [32]byte{}

// Hash is that of one block.
type Hash [sha256.Size]byte

// Sum hashes one data or hash block of Block bytes.
func Sum(block []byte) Hash {
	h := sha256.New()
	h.Write(Salt[:])
	h.Write(block)
	var sum Hash
	h.Sum(sum[:0])
	return sum
}

// Image describes a root filesystem with its tree behind it.
type Image struct {
	Root   Hash
	Blocks int64 // data blocks; the tree begins behind them
}

// ErrCorrupt is wrapped by Check when bytes differ from what the root hash says.
var ErrCorrupt = errors.New("does not match the root hash")

// String is the image's form on the kernel command line: ROOTHASH:BLOCKS.
func (i Image) String() string {
	return hex.EncodeToString(i.Root[:]) + ":" + strconv.FormatInt(i.Blocks, 10)
}

// Parse reads what String wrote.
func Parse(text string) (Image, error) {
	var i Image
	sum, blocks, ok := strings.Cut(text, ":")
	raw, err := hex.DecodeString(sum)
	if !ok || err != nil || len(raw) != len(i.Root) {
		return i, fmt.Errorf("verity: got %.100q, want 64 hexadecimal digits, a colon and a number of blocks", text)
	}
	copy(i.Root[:], raw)
	i.Blocks, err = strconv.ParseInt(blocks, 10, 64)
	if err != nil || i.Blocks < 1 || i.Blocks > MaxBlocks {
		return i, fmt.Errorf("verity: got %.20q blocks, want 1 to %d", blocks, MaxBlocks)
	}
	return i, nil
}

// levels are the numbers of hash blocks per level, the leaves' first. An image of
// one block has no tree: its hash is the root.
func levels(blocks int64) []int64 {
	var all []int64
	for n := blocks; n > 1; {
		n = (n + perBlock - 1) / perBlock
		all = append(all, n)
	}
	return all
}

// TreeBlocks is the size of the tree in blocks.
func (i Image) TreeBlocks() int64 {
	sum := int64(0)
	for _, n := range levels(i.Blocks) {
		sum += n
	}
	return sum
}

// Size is the bytes of data and tree together.
func (i Image) Size() int64 { return (i.Blocks + i.TreeBlocks()) * Block }

// Build computes the tree over data, whose last block is filled up with zeros.
func Build(data io.Reader) (Image, []byte, error) {
	var leaves []byte
	block := make([]byte, Block)
	for blocks := int64(0); ; blocks++ {
		n, err := io.ReadFull(data, block)
		if err == io.EOF {
			return finish(blocks, leaves)
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return Image{}, nil, fmt.Errorf("verity: read data: %w", err)
		}
		if blocks == MaxBlocks {
			return Image{}, nil, fmt.Errorf("verity: got more than %d blocks", MaxBlocks)
		}
		clear(block[n:])
		sum := Sum(block)
		leaves = append(leaves, sum[:]...)
	}
}

// Tree is what Build returns, from hashes that are known already.
func Tree(hashes []Hash) (Image, []byte, error) {
	leaves := make([]byte, 0, len(hashes)*sha256.Size)
	for _, h := range hashes {
		leaves = append(leaves, h[:]...)
	}
	return finish(int64(len(hashes)), leaves)
}

// finish builds the upper levels and puts the top one first.
func finish(blocks int64, leaves []byte) (Image, []byte, error) {
	if blocks == 0 {
		return Image{}, nil, fmt.Errorf("verity: got no data")
	}
	var tree []byte
	level := leaves
	for len(level) > sha256.Size {
		level = append(level, make([]byte, (Block-len(level)%Block)%Block)...)
		tree = append(bytes.Clone(level), tree...)
		var above []byte
		for at := 0; at < len(level); at += Block {
			sum := Sum(level[at : at+Block])
			above = append(above, sum[:]...)
		}
		level = above
	}
	return Image{Root: Hash(level), Blocks: blocks}, tree, nil
}

// Leaves checks a tree against the root hash, level by level, and returns the
// hash of each data block.
func (i Image) Leaves(tree []byte) ([]Hash, error) {
	if int64(len(tree)) != i.TreeBlocks()*Block {
		return nil, fmt.Errorf("verity: got a tree of %d bytes, want %d", len(tree), i.TreeBlocks()*Block)
	}
	want := []Hash{i.Root}
	sizes := levels(i.Blocks)
	for n := len(sizes) - 1; n >= 0; n-- {
		level := tree[:sizes[n]*Block]
		tree = tree[len(level):]
		below := make([]Hash, 0, sizes[n]*perBlock)
		for b := int64(0); b < sizes[n]; b++ {
			block := level[b*Block:][:Block]
			if Sum(block) != want[b] {
				return nil, fmt.Errorf("verity: tree level %d, block %d: %w", n, b, ErrCorrupt)
			}
			for h := range perBlock {
				below = append(below, Hash(block[h*sha256.Size:]))
			}
		}
		want = below
	}
	return want[:i.Blocks], nil
}

// Check reads a whole image with its tree and compares every block.
func (i Image) Check(r io.ReaderAt) error {
	tree := make([]byte, i.TreeBlocks()*Block)
	if err := readAt(r, tree, i.Blocks*Block); err != nil {
		return fmt.Errorf("verity: read tree: %w", err)
	}
	leaves, err := i.Leaves(tree)
	if err != nil {
		return err
	}
	block := make([]byte, Block)
	for n, want := range leaves {
		if err := readAt(r, block, int64(n)*Block); err != nil {
			return fmt.Errorf("verity: read block %d: %w", n, err)
		}
		if Sum(block) != want {
			return fmt.Errorf("verity: block %d: %w", n, ErrCorrupt)
		}
	}
	return nil
}

// readAt fills p; a reader may say io.EOF with the last byte.
func readAt(r io.ReaderAt, p []byte, off int64) error {
	if n, err := r.ReadAt(p, off); n < len(p) {
		return err
	}
	return nil
}

// Table is the device mapper's parameters for the image on a block device, named
// by path or MAJOR:MINOR. A block that does not match restarts the box: what it
// would run can't be trusted, and the other slot may be whole.
func (i Image) Table(device string) string {
	return fmt.Sprintf("1 %s %s %d %d %d %d sha256 %x %x 1 restart_on_corruption",
		device, device, Block, Block, i.Blocks, i.Blocks, i.Root, Salt)
}
