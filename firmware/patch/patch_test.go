package patch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"clinicgate/firmware/verity"
)

func noise(blocks int, seed byte) []byte {
	b := make([]byte, blocks*verity.Block)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func withTree(t testing.TB, data []byte) (verity.Image, []byte) {
	t.Helper()
	i, tree, err := verity.Build(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return i, append(bytes.Clone(data), tree...)
}

// made returns a patch's pieces, after a look that they lead to the new image.
func made(t testing.TB, old, fresh []byte) (text []byte, pieces []Piece) {
	t.Helper()
	from, a := withTree(t, old)
	to, b := withTree(t, fresh)
	var w bytes.Buffer
	if err := Write(&w, from, to, a, b); err != nil {
		t.Fatal(err)
	}
	text = w.Bytes()
	size, err := EntriesSize(text[:HeadSize])
	if err != nil {
		t.Fatal(err)
	}
	pieces, err = Parse(text[HeadSize:][:size], int64(len(b)/verity.Block), int64(len(a)/verity.Block))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		got, err := p.Apply(text[p.At:][:p.Length], a[p.SeedFirst*verity.Block:][:p.SeedBlocks*verity.Block])
		if err != nil || !bytes.Equal(got, b[p.First*verity.Block:][:p.Blocks*verity.Block]) {
			t.Fatalf("%+v: not the new image's blocks, %v", p, err)
		}
	}
	return text, pieces
}

func TestPatches(t *testing.T) {
	base := noise(900, 1)
	moved := append(noise(1, 2)[:100], base[:len(base)-100]...)
	for name, c := range map[string]struct {
		old, fresh []byte
		most       int // bytes
	}{
		"the same":               {base, base, 1000},
		"moved by some bytes":    {base, moved, 50_000},
		"grown in front":         {base, append(noise(300, 3), moved...), 1_350_000},
		"shrunk":                 {base, base[500*verity.Block:], 30_000},
		"all new":                {base, noise(600, 4), 600*verity.Block + 100_000},
		"from one block":         {base[:verity.Block], base[:40*verity.Block], 40*verity.Block + 10_000},
		"to one block":           {base, noise(1, 5), 5000},
		"larger than one's seed": {base[:2*verity.Block], noise(1200, 6), 1200*verity.Block + 200_000},
	} {
		t.Run(name, func(t *testing.T) {
			if text, pieces := made(t, c.old, c.fresh); len(text) > c.most {
				t.Errorf("got %d bytes in %d pieces, want %d at most", len(text), len(pieces), c.most)
			}
		})
	}
}

// entries are a patch's table with these numbers.
func entries(numbers ...uint32) (b []byte) {
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

func TestRefused(t *testing.T) {
	for name, table := range map[string][]byte{
		"a part of an entry":       entries(0, 1, 0, 1, 9)[:19],
		"no blocks":                entries(0, 0, 0, 1, 9),
		"too many blocks":          entries(0, 257, 0, 1, 9),
		"behind the image":         entries(1000, 1, 0, 1, 9),
		"twice the same":           entries(5, 2, 0, 1, 9, 6, 1, 0, 1, 9),
		"no dictionary":            entries(0, 1, 0, 0, 9),
		"a dictionary too large":   entries(0, 1, 0, 1025, 9),
		"a dictionary out of it":   entries(0, 1, 700, 1, 9),
		"a frame of nothing":       entries(0, 1, 0, 1, 0),
		"a frame larger than data": entries(0, 1, 0, 1, 9000),
	} {
		if got, err := Parse(table, 1000, 700); !errors.Is(err, ErrBad) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	for _, head := range []string{"", "CGPATCH1", "CGPATCH2\x00\x00\x00\x01", "CGPATCH1\xff\xff\xff\xff"} {
		if _, err := EntriesSize([]byte(head)); !errors.Is(err, ErrBad) {
			t.Errorf("%q: got %v", head, err)
		}
	}
	bomb, err := pack(make([]byte, 4<<20), noise(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Piece{Blocks: 2}).Apply(bomb, noise(1, 1)); !errors.Is(err, ErrBad) {
		t.Errorf("4 MiB for two blocks: got %v", err)
	}
}

// Whatever a server says, nothing is decoded beyond a piece's size.
func FuzzPatch(f *testing.F) {
	text, _ := made(f, noise(20, 1), append(noise(1, 2)[:10], noise(20, 1)[:20*verity.Block-10]...))
	f.Add(text)
	f.Add([]byte(magic + "\x00\x00\x00\x01"))
	seed := noise(30, 1)
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) < HeadSize {
			return
		}
		size, err := EntriesSize(text[:HeadSize])
		if err != nil || int64(len(text)) < int64(HeadSize)+size {
			return
		}
		pieces, err := Parse(text[HeadSize:][:size], 40, 30)
		if err != nil {
			return
		}
		for _, p := range pieces {
			if p.At+p.Length > int64(len(text)) {
				return
			}
			got, err := p.Apply(text[p.At:][:p.Length], seed[p.SeedFirst*verity.Block:][:p.SeedBlocks*verity.Block])
			if err == nil && int64(len(got)) != p.Blocks*verity.Block {
				t.Fatalf("%+v: got %d bytes", p, len(got))
			}
		}
	})
}
