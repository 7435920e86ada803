package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/proc"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/vault"
)

const (
	acceptSize = 64 << 10
	slice      = 2 * time.Second // of one measurement of the disk
	rounds     = 5
)

// BenchmarkQueue measures durable accepts of 64 KiB by one and by eight senders: a
// receipt each, sealed, digested, on the disk; beside each, in the same minute, what
// the disk gives to one loop that appends 64 KiB to a file and calls fdatasync, and
// to one that overwrites. Then the same 12-lead ECGs by storescu to this program and
// to Orthanc. BENCH_DIR is a folder on the disk to measure. It takes two minutes
// and writes build/bench/queue.json; run it with -benchtime 1x.
func BenchmarkQueue(b *testing.B) {
	lab.Require(b, lab.Program("storescu", "Orthanc"))
	dir := os.Getenv("BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	}
	var figures []figure
	for _, senders := range []int{1, 8} {
		var rate, sustained, p99, appends, overwrites []float64
		for range rounds {
			appends = append(appends, rawRate(b, dir, true))
			overwrites = append(overwrites, rawRate(b, dir, false))
			r, s, p := acceptRate(b, dir, senders)
			rate, sustained, p99 = append(rate, r), append(sustained, s), append(p99, p)
		}
		name := fmt.Sprintf("queue.accepts_%d", senders)
		versus := func(metric, peer string, value, of []float64) figure {
			return beside(metric, median(value), "/s", peer, median(of), rounds)
		}
		figures = append(figures, versus(name, "append, fdatasync", rate, appends), versus(name+"_pre", "overwrite, fdatasync", rate, overwrites),
			versus(name+"_sustained", "append, fdatasync", sustained, appends),
			figure{Metric: name + "_p99_ms", Value: median(p99), Unit: "ms", N: rounds})
	}
	files := b.TempDir()
	const stores = 200
	for n := range stores {
		if err := os.WriteFile(filepath.Join(files, fmt.Sprintf("%03d.dcm", n)), ecgOf(b, n), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var ours, theirs []float64
	for range 3 {
		ours = append(ours, storeRate(b, "CLINICGATE", oursListens(b), files, stores))
		theirs = append(theirs, storeRate(b, "ORTHANC", orthancListens(b), files, stores))
	}
	figures = append(figures, beside("queue.cstore_per_s", median(ours), "/s", "Orthanc", median(theirs), 3))
	writeFigures(b, "queue", figures)
}

func median(all []float64) float64 {
	s := slices.Sorted(slices.Values(all))
	return s[len(s)/2]
}

// rawRate is what the disk gives to one who writes 64 KiB and calls fdatasync.
func rawRate(b *testing.B, dir string, growing bool) float64 {
	b.Helper()
	f, err := os.CreateTemp(dir, "raw")
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	buf := make([]byte, acceptSize)
	rand.NewChaCha8([32]byte{}).Read(buf)
	const file = 64 << 20
	if !growing {
		for range file / acceptSize {
			if _, err := f.Write(buf); err != nil {
				b.Fatal(err)
			}
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	n, begin := 0, time.Now()
	for ; time.Since(begin) < slice/2; n++ {
		at := int64(n) * acceptSize
		if !growing {
			at %= file
		}
		if _, err := f.WriteAt(buf, at); err != nil {
			b.Fatal(err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(begin).Seconds()
}

// acceptRate is receipts a second of a burst, and of the twice as many behind it, and
// the burst's 99th percentile in milliseconds.
func acceptRate(b *testing.B, dir string, senders int) (rate, sustained, p99 float64) {
	b.Helper()
	v, err := vault.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	home, err := os.MkdirTemp(dir, "queue")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(home)
	q, err := queue.Open(home, queue.Options{Domain: v.Domain("uploads"), Retention: time.Nanosecond})
	if err != nil {
		b.Fatal(err)
	}
	defer q.Close()
	recycle(b, q)
	rate, p99 = accepts(b, q, senders, burst)
	sustained, _ = accepts(b, q, senders, 2*burst)
	return rate, sustained, p99
}

// burst is as many uploads as recycled segments take; what comes behind it in one go
// needs new ones, each written once in advance.
const burst = 3000

// accepts has senders hand over n uploads.
func accepts(b *testing.B, q *queue.Queue, senders, n int) (rate, p99 float64) {
	b.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	took := make([][]time.Duration, senders)
	begin := time.Now()
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			body := make([]byte, acceptSize)
			rand.NewChaCha8([32]byte{byte(s)}).Read(body)
			for left.Add(-1) >= 0 {
				it := queue.Item{Key: fmt.Sprint(rand.Uint64(), " ", rand.Uint64()), Lane: lane.Routine, Kind: "dicom", Origin: "CART", Size: acceptSize}
				at := time.Now()
				if _, err := q.Accept(context.Background(), it, bytes.NewReader(body)); err != nil {
					b.Error(err)
					return
				}
				took[s] = append(took[s], time.Since(at))
			}
		})
	}
	wg.Wait()
	rate = float64(n) / time.Since(begin).Seconds()
	all := slices.Concat(took...)
	slices.Sort(all)
	return rate, all[len(all)*99/100].Seconds() * 1000
}

// recycle brings the log to where a box in use has it: what was delivered is given up,
// and its segments lie ready.
func recycle(b *testing.B, q *queue.Queue) {
	b.Helper()
	const items, workers = 4096, 16
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			body := make([]byte, acceptSize)
			for i := range items / workers {
				it := queue.Item{Key: fmt.Sprint("warm", w, " ", i), Lane: lane.Routine, Kind: "dicom", Origin: "CART", Size: acceptSize}
				r, err := q.Accept(context.Background(), it, bytes.NewReader(body))
				if err == nil {
					_, _, err = q.Begin(r.ID, "hospital")
				}
				if err == nil {
					err = q.Done(r.ID, "there")
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := q.Maintain(time.Now().Add(time.Second)); err != nil {
		b.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // the last of them is being made ready
}

// oursListens is this program's DICOM node; it returns where.
func oursListens(b *testing.B) string {
	c := newClinic(b)
	port := freePort(b)
	c.ways(fmt.Sprintf("[sync.dicom]\nlisten = \"127.0.0.1:%s\"\ntitle = \"CLINICGATE\"", port))
	c.keys()
	c.start()
	c.wait("DICOM node", func() bool { return listens(port) })
	return port
}

func listens(port string) bool {
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// orthancListens is Orthanc's, with its defaults.
func orthancListens(b *testing.B) string {
	dir := b.TempDir()
	var number int
	port := freePort(b)
	fmt.Sscan(port, &number)
	config, err := json.Marshal(map[string]any{
		"StorageDirectory": dir, "IndexDirectory": dir, "HttpServerEnabled": false, "DicomPort": number, "DicomAet": "ORTHANC", "Plugins": []string{},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "orthanc.json"), config, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	p, err := proc.Start(proc.Spec{Name: "Orthanc", Args: []string{"Orthanc", filepath.Join(dir, "orthanc.json")}, Log: filepath.Join(dir, "log")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(p.Kill)
	for end := time.Now().Add(30 * time.Second); !listens(port); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			b.Fatal("Orthanc does not listen")
		}
	}
	return port
}

// storeRate is C-STOREs a second over one association.
func storeRate(b *testing.B, title, port, files string, n int) float64 {
	b.Helper()
	begin := time.Now()
	out, err := exec.Command("storescu", "-R", "-aet", "ECGCART", "-aec", title, "127.0.0.1", port, "+sd", files).CombinedOutput()
	if err != nil {
		b.Fatalf("storescu: %v\n%s", err, out)
	}
	return float64(n) / time.Since(begin).Seconds()
}
