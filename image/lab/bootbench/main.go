//go:debug multipathtcp=0

// Command bootbench measures how long the image takes from power-on to ready,
// against a bare kernel with a trivial init in the same kind of machine, and how
// large it is on disk and in memory. It writes build/bench/boot.json.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"clinicgate/firmware/lab/qemu"
)

// metric is one line of a bench's result. Ratio is Value over PeerValue.
type metric struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peer_value"`
	Ratio     float64 `json:"ratio"`
	N         int     `json:"n"`
}

func main() {
	image := flag.String("image", "build/image/qemu-x86_64", "`folder` that image build made")
	out := flag.String("o", "build/bench/boot.json", "result `file`")
	n := flag.Int("n", 3, "boots of each kind; the median counts")
	flag.Parse()
	metrics, err := measure(context.Background(), *image, *n)
	if err == nil {
		err = write(*out, metrics)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bootbench:", err)
		os.Exit(1)
	}
}

// measure boots both kinds in turn, so that a busy workstation slows both alike.
func measure(ctx context.Context, image string, n int) ([]metric, error) {
	dir, err := os.MkdirTemp("", "boot")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, image: image}
	for _, step := range []func(context.Context) error{b.makeBare, b.makeStick, b.setUp} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	boots := []struct {
		cfg     qemu.Config
		line    string
		inOrder bool
		took    []time.Duration
	}{
		{cfg: b.bareUEFI, line: `bare: up`}, {cfg: b.boxUEFI, line: `clinicgate: ready in`, inOrder: true},
		{cfg: b.bare, line: `bare: up`}, {cfg: b.box, line: `clinicgate: ready in`, inOrder: true},
	}
	for i := range n {
		for k := range boots {
			t, err := until(ctx, boots[k].cfg, boots[k].line, boots[k].inOrder)
			if err != nil {
				return nil, err
			}
			boots[k].took = append(boots[k].took, t)
		}
		fmt.Printf("boot %d of %d: ready after %.1f s, bare kernel after %.1f s; without firmware %.1f and %.1f s\n", i+1, n,
			boots[1].took[i].Seconds(), boots[0].took[i].Seconds(), boots[3].took[i].Seconds(), boots[2].took[i].Seconds())
	}
	metrics := []metric{
		compare("boot.ready_s", median(boots[1].took), "bare kernel + trivial init, by the same firmware", median(boots[0].took), n),
		compare("boot.direct_ready_s", median(boots[3].took), "bare kernel + trivial init", median(boots[2].took), n),
	}
	sizes, err := b.sizes()
	if err != nil {
		return nil, err
	}
	memory, err := b.memory()
	return append(append(metrics, sizes...), memory...), err
}

func compare(name string, value time.Duration, peer string, peerValue time.Duration, n int) metric {
	return metric{name, value.Seconds(), "s", peer, peerValue.Seconds(), value.Seconds() / peerValue.Seconds(), n}
}

func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

// sizes are what the image takes on disk: without holes, and the root alone.
func (b *bench) sizes() ([]metric, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(filepath.Join(b.image, "disk.img"), &st); err != nil {
		return nil, fmt.Errorf("disk.img: %w", err)
	}
	root, err := os.Stat(filepath.Join(b.image, "root.erofs"))
	if err != nil {
		return nil, err
	}
	return []metric{
		{Metric: "image.disk_mb", Value: float64(st.Blocks) * 512 / 1e6, Unit: "MB", N: 1},
		{Metric: "image.root_mb", Value: float64(root.Size()) / 1e6, Unit: "MB", N: 1},
	}, nil
}

func write(path string, metrics []metric) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, m := range metrics {
		peer := ""
		if m.Peer != "" {
			peer = fmt.Sprintf("%.2f %s (%s)\tratio %.2f", m.PeerValue, m.Unit, m.Peer, m.Ratio)
		}
		fmt.Fprintf(w, "%s\t%.2f %s\t%s\n", m.Metric, m.Value, m.Unit, peer)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(metrics, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(data, '\n'), 0o644)
}
