package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/delta"
	"clinicgate/firmware/lab"
	"clinicgate/firmware/patch"
	"clinicgate/firmware/release"
	"clinicgate/firmware/update/source"
	"clinicgate/firmware/verity"
	"clinicgate/image/disk"
)

// figure is one line of build/bench/update.json.
type figure struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peer_value"`
	Ratio     float64 `json:"ratio"`
	N         int     `json:"n"`
}

// BenchmarkUpdate brings a release in which one daemon has changed by a few lines,
// as the box does: from a web server, with the running slot at hand. Beside it
// casync does the same with the same two images.
func BenchmarkUpdate(b *testing.B) {
	lab.Require(b, lab.Program("casync", "mkfs.erofs"))
	old := requireBoot(b)
	fresh := variant(b, old, "bench", change{tight: true, root: changedNetd})
	dir := b.TempDir()
	before, err := stage(old, dir, "qemu-x86_64", "old")
	if err != nil {
		b.Fatal(err)
	}
	after, err := stage(fresh, dir, "qemu-x86_64", "new")
	if err != nil {
		b.Fatal(err)
	}
	at := func(r release.Release, name string) string {
		return filepath.Join(dir, release.TargetsFolder, r.Board, r.Version, r.Images[name].File)
	}
	began := time.Now()
	if err := stagePatches(dir, "old", after); err != nil {
		b.Fatal(err)
	}
	packing := time.Since(began)
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	base, err := url.Parse(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	var fetched, unpatched, full, theirs float64
	var took, casync time.Duration
	for name, seed := range map[string]string{"root": "root", "b.efi": "a.efi"} {
		bytes, whole, t := bring(b, source.NewWeb(base), after, name, at(before, seed), true)
		fetched, full, took = fetched+bytes, full+whole, took+t
		bytes, _, _ = bring(b, source.NewWeb(base), after, name, at(before, seed), false)
		unpatched += bytes
		bytes, t = casyncs(b, at(before, seed), at(after, name))
		theirs, casync = theirs+bytes, casync+t
	}
	figures := []figure{
		{"update.delta_bytes", fetched, "bytes", "the full release", full, fetched / full, 1},
		{"update.blocks_bytes", unpatched, "bytes", "the full release; by blocks alone, without the patch", full, unpatched / full, 1},
		{"update.patch_made_s", packing.Seconds(), "s", "", 0, 0, 1},
		{"update.delta_vs_casync", fetched, "bytes", "casync, chunks of 64 KiB, compressed", theirs, fetched / theirs, 1},
		{"update.seconds", took.Seconds(), "s", "casync extract with the old image as its seed", casync.Seconds(), took.Seconds() / casync.Seconds(), 1},
	}
	writeFigures(b, figures)
}

// changedNetd is a netd with a few lines more.
func changedNetd(t testing.TB, root string) {
	source, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	main := filepath.Join(source, "netd", "main.go")
	text, err := os.ReadFile(main)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(text), "func main() {", "func main() {\n\tif len(os.Args) > 40 {\n\t\tprintln(\"netd: too many arguments\", len(os.Args))\n\t\tos.Exit(2)\n\t}\n", 1)
	if edited == string(text) {
		t.Fatal("netd/main.go has no main")
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{main: filepath.Join(dir, "main.go")}})
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{filepath.Join(dir, "main.go"): edited, filepath.Join(dir, "overlay.json"): string(overlay)} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-trimpath", "-buildvcs=false", "-ldflags", "-s -w -buildid=", "-o", filepath.Join(root, "usr/bin/netd"), "./netd")
	cmd.Dir, cmd.Env = source, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// bring fetches an image into an empty file and says what came over the wire.
func bring(b *testing.B, depot source.Web, r release.Release, name, seed string, patched bool) (fetched, full float64, took time.Duration) {
	b.Helper()
	image := r.Images[name]
	tree, err := image.Tree()
	if err != nil {
		b.Fatal(err)
	}
	staged, err := os.ReadFile(seed)
	if err != nil {
		b.Fatal(err)
	}
	have, err := treeBehind(staged) // which a box's own slot does not show
	if err != nil {
		b.Fatal(err)
	}
	to, err := os.Create(filepath.Join(b.TempDir(), "slot"))
	if err != nil {
		b.Fatal(err)
	}
	defer to.Close()
	began := time.Now()
	folder := release.TargetsFolder + "/" + r.Board + "/" + r.Version + "/"
	from := delta.Seed{ReaderAt: bytes.NewReader(staged), Blocks: have.Blocks}
	if patched {
		from.Patch = func(have verity.Image) delta.Source { return ranges{depot, folder + patch.Name(image.File, have)} }
	}
	stats, err := delta.Bring(b.Context(), tree, ranges{depot, folder + image.File}, to, from, func(_, _ int64) {})
	if err != nil {
		b.Fatal(err)
	}
	return float64(stats.Bytes()), float64(tree.Size()), time.Since(began)
}

type ranges struct {
	depot source.Web
	name  string
}

func (r ranges) Range(ctx context.Context, off, n int64) (io.ReadCloser, error) {
	return r.depot.Open(ctx, r.name, off, n)
}

// casyncs is what casync fetches and how long it takes: the index, and the chunks
// that the old image does not have.
func casyncs(b *testing.B, old, fresh string) (fetched float64, took time.Duration) {
	b.Helper()
	dir := b.TempDir()
	run := func(args ...string) {
		b.Helper()
		if out, err := exec.Command("casync", args...).CombinedOutput(); err != nil {
			b.Fatalf("casync %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	run("make", "--store="+filepath.Join(dir, "old"), filepath.Join(dir, "old.caibx"), old)
	run("make", "--store="+filepath.Join(dir, "new"), filepath.Join(dir, "new.caibx"), fresh)
	began := time.Now()
	run("extract", "--store="+filepath.Join(dir, "new"), "--seed="+old, filepath.Join(dir, "new.caibx"), filepath.Join(dir, "slot"))
	took = time.Since(began)
	total := int64(0)
	err := filepath.Walk(filepath.Join(dir, "new"), func(path string, fi os.FileInfo, err error) error {
		if err != nil || fi.IsDir() {
			return err
		}
		rel, err := filepath.Rel(filepath.Join(dir, "new"), path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, "old", rel)); err != nil {
			total += fi.Size()
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	index, err := os.Stat(filepath.Join(dir, "new.caibx"))
	if err != nil {
		b.Fatal(err)
	}
	return float64(total + index.Size()), took
}

func writeFigures(b *testing.B, figures []figure) {
	b.Helper()
	source, err := moduleRoot()
	if err != nil {
		b.Fatal(err)
	}
	for _, f := range figures {
		fmt.Printf("%-24s %14.2f %-6s %-48s %14.2f  ratio %.3f\n", f.Metric, f.Value, f.Unit, f.Peer, f.PeerValue, f.Ratio)
	}
	text, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(source, "build", "bench", "update.json")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		b.Fatal(err)
	}
}

// packed makes the root filesystem of a variant.
func packed(t testing.TB, path, root string, tight bool) {
	t.Helper()
	if tight {
		if err := disk.EROFS(path, root); err != nil {
			t.Fatal(err)
		}
		return
	}
	// Packed less tightly than a build's: that takes a sixth of its time.
	command(t, "mkfs.erofs", "--quiet", "-zlz4", "-C65536", "-T0", "-U00000000-0000-0000-0000-000000000000", "--all-root", path, root)
}
