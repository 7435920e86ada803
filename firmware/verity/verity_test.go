package verity

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"testing/quick"

	"clinicgate/firmware/lab"
)

// noise is n blocks that are all different.
func noise(n int) []byte {
	b := make([]byte, n*Block)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

func build(t testing.TB, data []byte) (Image, []byte) {
	t.Helper()
	i, tree, err := Build(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(tree)) != i.TreeBlocks()*Block {
		t.Fatalf("tree of %d bytes, said to be %d blocks", len(tree), i.TreeBlocks())
	}
	return i, tree
}

// The kernel's own tool must come to the same root hash and the same tree.
func TestAgreesWithVeritysetup(t *testing.T) {
	lab.Require(t, lab.Program("veritysetup"))
	for _, blocks := range []int{2, 128, 129, 128*128 + 1} {
		data := noise(blocks)
		i, tree := build(t, data)
		dir := t.TempDir()
		image, hashes := filepath.Join(dir, "data"), filepath.Join(dir, "hashes")
		if err := os.WriteFile(image, data, 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("veritysetup", "format", "--no-superblock", "--data-blocks="+strconv.Itoa(blocks),
			"--salt=0000000000000000000000000000000000000000000000000000000000000000", image, hashes)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		m := regexp.MustCompile(`Root hash:\s+(\w+)`).FindSubmatch(out)
		if m == nil || string(m[1])+":"+strconv.Itoa(blocks) != i.String() {
			t.Errorf("%d blocks: got %s, veritysetup says %s", blocks, i, out)
		}
		if want, _ := os.ReadFile(hashes); !bytes.Equal(tree, want) {
			t.Errorf("%d blocks: the tree differs from veritysetup's (%d and %d bytes)", blocks, len(tree), len(want))
		}
	}
}

func TestCheckFindsEveryFlippedBit(t *testing.T) {
	data := noise(300)
	i, tree := build(t, data)
	whole := append(bytes.Clone(data), tree...)
	if int64(len(whole)) != i.Size() {
		t.Fatalf("size %d, want %d", i.Size(), len(whole))
	}
	if err := i.Check(bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
	flip := func(at uint32, bit uint8) bool {
		n := int(at) % len(whole)
		whole[n] ^= 1 << (bit % 8)
		err := i.Check(bytes.NewReader(whole))
		whole[n] ^= 1 << (bit % 8)
		return errors.Is(err, ErrCorrupt)
	}
	if err := quick.Check(flip, &quick.Config{MaxCount: 60}); err != nil {
		t.Error(err)
	}
	if err := i.Check(bytes.NewReader(whole[:len(whole)-1])); err == nil {
		t.Error("a short image passes")
	}
	if err := (Image{Root: i.Root, Blocks: i.Blocks - 1}).Check(bytes.NewReader(whole)); err == nil {
		t.Error("an image with another number of blocks passes")
	}
}

func TestLeavesAreTheBlocks(t *testing.T) {
	data := noise(200)
	i, tree := build(t, data)
	leaves, err := i.Leaves(tree)
	if err != nil || len(leaves) != 200 {
		t.Fatal(len(leaves), err)
	}
	for n, leaf := range leaves {
		if leaf != Sum(data[n*Block:][:Block]) {
			t.Fatalf("leaf %d is not the hash of block %d", n, n)
		}
	}
}

// One changed block changes one leaf, whatever the release: the salt is fixed.
func TestEqualBlocksHaveEqualLeaves(t *testing.T) {
	data := noise(200)
	i, tree := build(t, data)
	before, _ := i.Leaves(tree)
	data[77*Block]++
	i, tree = build(t, data)
	after, _ := i.Leaves(tree)
	for n := range after {
		if (before[n] != after[n]) != (n == 77) {
			t.Errorf("leaf %d", n)
		}
	}
}

func TestOddSizes(t *testing.T) {
	short, _ := build(t, make([]byte, Block+1))
	full, _ := build(t, make([]byte, 2*Block))
	if short != full {
		t.Errorf("zeros behind the end count: %v, %v", short, full)
	}
	one, tree := build(t, noise(1))
	if len(tree) != 0 || one.Check(bytes.NewReader(noise(1))) != nil {
		t.Errorf("an image of one block: tree of %d bytes, %v", len(tree), one.Check(bytes.NewReader(noise(1))))
	}
	if _, _, err := Build(bytes.NewReader(nil)); err == nil {
		t.Error("an empty image has a root hash")
	}
}

func TestParse(t *testing.T) {
	want, _ := build(t, noise(3))
	if got, err := Parse(want.String()); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	root := want.String()[:64]
	for _, bad := range []string{"", root, root + ":", root + ":0", root + ":-1", root + ":1048577", root[1:] + ":3", "x" + root[1:] + ":3", root + ":3:4"} {
		if got, err := Parse(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0000000000000000000000000000000000000000000000000000000000000000:12")
	f.Add(":")
	f.Fuzz(func(t *testing.T, text string) {
		if i, err := Parse(text); err == nil {
			if again, err := Parse(i.String()); err != nil || again != i {
				t.Errorf("%q: %v, %v", text, again, err)
			}
		}
	})
}

// The tree comes from the network in an update; whatever it is, it is bounded by
// the number of blocks and refused unless it fits.
func FuzzLeaves(f *testing.F) {
	data := noise(130)
	i, tree, _ := Build(bytes.NewReader(data))
	f.Add(tree, int64(130))
	f.Fuzz(func(t *testing.T, tree []byte, blocks int64) {
		if blocks < 1 || blocks > MaxBlocks {
			return
		}
		leaves, err := Image{Root: i.Root, Blocks: blocks}.Leaves(tree)
		if err == nil && (int64(len(leaves)) != blocks || blocks != 130) {
			t.Errorf("a foreign tree of %d bytes passes for %d blocks", len(tree), blocks)
		}
	})
}
