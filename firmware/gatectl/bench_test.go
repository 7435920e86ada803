package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"clinicgate/firmware/lab/pty"
	"clinicgate/firmware/wire"
)

// A figure is one line of build/bench/ux.json.
type figure struct {
	Metric    string  `json:"metric"`
	Value     float64 `json:"value"`
	Unit      string  `json:"unit"`
	Peer      string  `json:"peer"`
	PeerValue float64 `json:"peer_value"`
	Ratio     float64 `json:"ratio"`
	N         int     `json:"n"`
}

// BenchmarkConsole measures what the console sends over a serial line while nobody
// types and every line's figures move, and how long gatectl status takes. Goals are
// the peers. It writes its lines of build/bench/ux.json, in about a minute and a
// half; run it with -benchtime 1x.
func BenchmarkConsole(b *testing.B) {
	dir := b.TempDir()
	bin := filepath.Join(dir, "gatectl")
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	files := []string{wire.InitFile, wire.NetFile, wire.FailoverFile, wire.CardFile, wire.SyncFile, wire.UpdateFile}
	for _, name := range files {
		publish(b, dir, name, 0)
	}
	args := []string{"--run", dir, "--site", "../../docs/site.example.toml"}
	var took []float64
	for range 31 {
		begin := time.Now()
		exec.Command(bin, append([]string{"status"}, args...)...).Run() // its exit code is the box's
		took = append(took, float64(time.Since(begin).Microseconds())/1000)
	}
	slices.Sort(took)
	rest, first := watchConsole(b, bin, dir, args)
	size, err := os.Stat(bin)
	if err != nil {
		b.Fatal(err)
	}
	writeFigures(b, []figure{
		{"ux.status_ms", took[len(took)/2], "ms", "goal", 50, took[len(took)/2] / 50, len(took)},
		{"ux.console_bytes_per_s", rest, "B/s", "goal", 1000, rest / 1000, 1},
		{"ux.console_bytes_per_refresh", first, "B", "goal", 2000, first / 2000, 1},
		{Metric: "ux.gatectl_mb", Value: float64(size.Size()) / 1e6, Unit: "MB", N: 1},
	})
}

// watched is how long the console is watched: two of the redraws it does by itself.
const watched = 70 * time.Second

// watchConsole returns the bytes a second at rest, and those of the first whole screen.
func watchConsole(b *testing.B, bin, dir string, args []string) (rest, first float64) {
	person, program := pty.Open(b)
	var sent atomic.Int64
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := person.Read(buf)
			if sent.Add(int64(n)); err != nil && err != io.EOF {
				return
			}
		}
	}()
	cmd := exec.Command(bin, append([]string{"console"}, args...)...)
	cmd.Env = append(os.Environ(), "TERM=vt100")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	whole := sent.Load()
	begin := time.Now()
	for i := 1; time.Since(begin) < watched; i++ {
		publish(b, dir, wire.NetFile, i)
		time.Sleep(time.Second)
	}
	rest = float64(sent.Load()-whole) / time.Since(begin).Seconds()
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return rest, float64(whole)
}

// publish writes a golden wire file as if its program did it now, with other round
// trips and rates at every step.
func publish(b *testing.B, dir, name string, step int) {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("../wire/testdata", name))
	if err != nil {
		b.Fatal(err)
	}
	moved := strings.NewReplacer("2026-11-22T08:30:00Z", time.Now().UTC().Format(time.RFC3339), `"rtt_ms": 12.5`, fmt.Sprintf(`"rtt_ms": %d.5`, 10+step*7%40),
		`"rx_bps": 2000000`, fmt.Sprintf(`"rx_bps": %d`, 2000000+step*37777%900000), `"tx_bps": 300000`, fmt.Sprintf(`"tx_bps": %d`, 300000+step*1777%90000)).Replace(string(text))
	tmp := filepath.Join(dir, ".new")
	if err := os.WriteFile(tmp, []byte(moved), 0o644); err != nil {
		b.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(dir, name)); err != nil {
		b.Fatal(err)
	}
}

// writeFigures puts the figures among those that others measured, and prints them.
func writeFigures(b *testing.B, figures []figure) {
	b.Helper()
	path := filepath.Join("../../build/bench", "ux.json")
	var all []figure
	if data, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(data, &all); err != nil {
			b.Fatalf("%s: %v", path, err)
		}
	}
	for _, f := range figures {
		fmt.Printf("%-30s %10.1f %-5s ratio %.2f (n=%d)\n", f.Metric, f.Value, f.Unit, f.Ratio, f.N)
		all = slices.DeleteFunc(all, func(old figure) bool { return old.Metric == f.Metric })
	}
	data, err := json.MarshalIndent(append(all, figures...), "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, append(data, '\n'), 0o644)
	}
	if err != nil {
		b.Fatal(err)
	}
}
