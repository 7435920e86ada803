package delta

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"clinicgate/firmware/verity"
)

// noise is n blocks that are all different; the same seed gives the same.
func noise(n int, seed byte) []byte {
	b := make([]byte, n*verity.Block)
	r := rand.NewChaCha8([32]byte{seed})
	r.Read(b)
	return b
}

// published is an image as a server has it, tree and all.
func published(t testing.TB, data []byte) (verity.Image, []byte) {
	t.Helper()
	i, tree, err := verity.Build(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return i, append(bytes.Clone(data), tree...)
}

// server answers ranges, and fails when its budget of bytes is used up.
type server struct {
	data   []byte
	budget int64
	asked  int
}

var errCut = errors.New("the link is cut")

func (s *server) Range(_ context.Context, off, n int64) (io.ReadCloser, error) {
	s.asked++
	give := min(n, s.budget)
	s.budget -= give
	r := io.Reader(bytes.NewReader(s.data[off : off+give]))
	if give < n {
		r = io.MultiReader(r, broken{})
	}
	return io.NopCloser(r), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errCut }

const plenty = 1 << 40

// flash is a partition that forgets what was not synced when the power goes.
type flash struct {
	durable, now []byte
	writes       int // left until the power goes; negative: it stays
}

func newFlash(content []byte, blocks int) *flash {
	f := &flash{durable: make([]byte, blocks*verity.Block), writes: -1}
	copy(f.durable, content)
	f.now = bytes.Clone(f.durable)
	return f
}

var errPower = errors.New("power cut")

func (f *flash) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.now).ReadAt(p, off)
}

func (f *flash) WriteAt(p []byte, off int64) (int, error) {
	if f.writes == 0 {
		// Torn: half of it reaches the disk, and whatever else was on its way does not.
		copy(f.durable[off:], p[:len(p)/2])
		f.now = bytes.Clone(f.durable)
		return 0, errPower
	}
	f.writes--
	return copy(f.now[off:], p), nil
}

func (f *flash) Sync() error { copy(f.durable, f.now); return nil }

func bring(t *testing.T, i verity.Image, src Source, slot Slot, seed []byte) (Stats, error) {
	t.Helper()
	return Bring(t.Context(), i, src, slot, Seed{ReaderAt: bytes.NewReader(seed), Blocks: int64(len(seed) / verity.Block)}, func(int64, int64) {})
}

// A release that differs from the running one in three blocks of 600, with all
// behind them moved, costs three blocks and the tree.
func TestOnlyWhatIsMissing(t *testing.T) {
	old := noise(600, 1)
	fresh := bytes.Clone(old[:100*verity.Block])
	fresh = append(fresh, noise(3, 2)...)
	fresh = append(fresh, old[101*verity.Block:]...)
	i, image := published(t, fresh)
	src, slot := &server{data: image, budget: plenty}, newFlash(nil, 800)
	got, err := bring(t, i, src, slot, old)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Stats{Copied: 599, Fetched: 3, Tree: i.TreeBlocks()}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if !bytes.Equal(slot.durable[:len(image)], image) {
		t.Error("the slot does not hold the image")
	}
	if got, err := bring(t, i, src, slot, nil); err != nil || got.Bytes() != 0 {
		t.Errorf("once more: %+v, %v", got, err)
	}
}

// The link is cut again and again: nothing that came is fetched twice but the run
// under way.
func TestResume(t *testing.T) {
	i, image := published(t, noise(400, 3))
	slot := newFlash(nil, 500)
	src := &server{data: image}
	total, cuts := int64(0), 0
	for {
		src.budget = 37*verity.Block + 11
		got, err := bring(t, i, src, slot, nil)
		total += got.Bytes()
		if err == nil {
			break
		}
		if !errors.Is(err, errCut) {
			t.Fatal(err)
		}
		if cuts++; cuts > 30 {
			t.Fatal("no end")
		}
	}
	if total > int64(len(image)) {
		t.Errorf("%d bytes for an image of %d over %d cuts", total, len(image), cuts)
	}
	if !bytes.Equal(slot.durable[:len(image)], image) {
		t.Error("the slot does not hold the image")
	}
}

// Power goes at every write in turn, what was not synced is lost and the last
// write is torn: the next try makes it whole.
func TestPowerCutAtEachWrite(t *testing.T) {
	i, image := published(t, noise(300, 4))
	for cut := range 300 {
		slot := newFlash(noise(400, 5), 400) // an older release lies there
		slot.writes = cut
		src := &server{data: image, budget: plenty}
		if _, err := bring(t, i, src, slot, nil); !errors.Is(err, errPower) {
			t.Fatalf("cut at write %d: got %v", cut, err)
		}
		slot.writes = -1
		if _, err := bring(t, i, src, slot, nil); err != nil || !bytes.Equal(slot.durable[:len(image)], image) {
			t.Fatalf("cut at write %d: the next try gives %v", cut, err)
		}
	}
}

// A server that lies gets no block written.
func TestLies(t *testing.T) {
	i, image := published(t, noise(300, 6))
	for name, at := range map[string]int64{"first block": 0, "last block": 299 * verity.Block, "tree": 300 * verity.Block, "leaves": 301*verity.Block + 77} {
		lie := bytes.Clone(image)
		lie[at] ^= 0x10
		slot := newFlash(nil, 400)
		if _, err := bring(t, i, &server{data: lie, budget: plenty}, slot, nil); !errors.Is(err, verity.ErrCorrupt) {
			t.Errorf("%s: got %v", name, err)
		}
		for n := range int64(300) {
			block := slot.now[n*verity.Block:][:verity.Block]
			if !bytes.Equal(block, make([]byte, verity.Block)) && !bytes.Equal(block, image[n*verity.Block:][:verity.Block]) {
				t.Errorf("%s: block %d is foreign", name, n)
			}
		}
	}
	other, _ := published(t, noise(300, 7))
	if _, err := bring(t, other, &server{data: image, budget: plenty}, newFlash(nil, 400), nil); !errors.Is(err, verity.ErrCorrupt) {
		t.Errorf("another image: got %v", err)
	}
}

// A seed whose disk goes bad while it is read from is no reason to fail.
func TestSeedGoesBad(t *testing.T) {
	data := noise(200, 8)
	i, image := published(t, data)
	slot := newFlash(nil, 300)
	seed := &fading{data: data, reads: 250} // all of it once, then 50 more
	_, err := Bring(t.Context(), i, &server{data: image, budget: plenty}, slot, Seed{ReaderAt: seed, Blocks: 200}, func(int64, int64) {})
	if err != nil || !bytes.Equal(slot.durable[:len(image)], image) {
		t.Errorf("got %v", err)
	}
}

type fading struct {
	data  []byte
	reads int
}

func (f *fading) ReadAt(p []byte, off int64) (int, error) {
	if f.reads--; f.reads < 0 {
		return 0, errors.New("input/output error")
	}
	return bytes.NewReader(f.data).ReadAt(p, off)
}
