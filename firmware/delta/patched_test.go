package delta

import (
	"bytes"
	"context"
	"io"
	"testing"

	"clinicgate/firmware/patch"
	"clinicgate/firmware/verity"
)

// relinked is data as a program's new build has it: no block is the same, most
// bytes are.
func relinked(data []byte) []byte {
	fresh := append([]byte("a few bytes more"), data...)
	for at := 0; at < len(fresh); at += 1500 {
		fresh[at] ^= 1
	}
	return append(fresh, make([]byte, verity.Block-len(fresh)%verity.Block)...)
}

// patchFrom is a source for one patch, and notes whose it is asked to be.
func patchFrom(t testing.TB, old, fresh []byte, edit func([]byte)) (func(verity.Image) Source, *verity.Image) {
	t.Helper()
	from, oldImage := published(t, old)
	to, freshImage := published(t, fresh)
	var text bytes.Buffer
	if err := patch.Write(&text, from, to, oldImage, freshImage); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(text.Bytes())
	}
	var asked verity.Image
	return func(seed verity.Image) Source {
		asked = seed
		return &server{data: text.Bytes(), budget: plenty}
	}, &asked
}

// A program was built anew: a patch brings it for a fraction of its blocks, the tree
// as well. Without a patch, or with one that lies, everything comes all the same.
func TestPatch(t *testing.T) {
	keep, program := noise(200, 1), noise(700, 2)
	old := append(bytes.Clone(keep), program...)
	old = append(old, noise(50, 3)[:49*verity.Block+100]...) // the last block is a part
	padded := append(bytes.Clone(old), make([]byte, verity.Block-len(old)%verity.Block)...)
	fresh := append(bytes.Clone(keep), relinked(program)...)
	fresh = append(fresh, old[900*verity.Block:949*verity.Block]...)
	i, image := published(t, fresh)
	changed := i.Blocks - 249

	for name, c := range map[string]struct {
		edit    func([]byte)
		none    bool
		patched int64
	}{
		"good":           {patched: changed + i.TreeBlocks()},
		"none":           {none: true},
		"cut short":      {edit: func(p []byte) { clear(p[len(p)/2:]) }},
		"another format": {edit: func(p []byte) { p[0] = 'X' }},
		"wild numbers":   {edit: func(p []byte) { p[patch.HeadSize] = 0xff }},
		"a bit":          {edit: func(p []byte) { p[len(p)-9] ^= 4 }},
	} {
		t.Run(name, func(t *testing.T) {
			seed := Seed{ReaderAt: bytes.NewReader(old), Blocks: int64(len(padded) / verity.Block)}
			asked := new(verity.Image)
			if !c.none {
				seed.Patch, asked = patchFrom(t, padded, fresh, c.edit)
			} else {
				seed.Patch = func(verity.Image) Source { return missing{} }
			}
			slot := newFlash(nil, len(image)/verity.Block)
			got, err := Bring(t.Context(), i, &server{data: image, budget: plenty}, slot, seed, func(int64, int64) {})
			if err != nil || !bytes.Equal(slot.durable, image) {
				t.Fatalf("got %+v, %v", got, err)
			}
			if want, _ := published(t, padded); !c.none && *asked != want {
				t.Errorf("asked for a patch from %v, have %v", *asked, want)
			}
			if c.patched > 0 && (got.Patched != c.patched || got.Fetched != 0 || got.Bytes() > changed*verity.Block/10) {
				t.Errorf("got %+v, want %d blocks by the patch, which is small", got, c.patched)
			}
			if c.patched == 0 && got.Fetched == 0 && got.Tree == 0 {
				t.Errorf("got %+v, want blocks fetched whole", got)
			}
		})
	}
}

// A patch for another image than the one signed makes no block of it.
func TestPatchOfAnother(t *testing.T) {
	old, fresh := noise(300, 4), relinked(noise(300, 4))
	seed := Seed{ReaderAt: bytes.NewReader(old), Blocks: 300}
	seed.Patch, _ = patchFrom(t, old, noise(len(fresh)/verity.Block, 5), nil)
	i, image := published(t, fresh)
	slot := newFlash(nil, len(image)/verity.Block)
	got, err := Bring(t.Context(), i, &server{data: image, budget: plenty}, slot, seed, func(int64, int64) {})
	if err != nil || got.Patched != 0 || !bytes.Equal(slot.durable, image) {
		t.Errorf("got %+v, %v", got, err)
	}
}

type missing struct{}

func (missing) Range(context.Context, int64, int64) (io.ReadCloser, error) { return nil, errCut }
