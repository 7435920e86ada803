package segment

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"clinicgate/syncd/disk"
)

// BenchmarkAppend measures durable appends of 64 KiB by 1 and by 8 callers, and
// beside each, on the same disk in the same minute, what the disk gives to one
// loop that writes 64 KiB into a file written before and calls fdatasync. x/raw is
// the ratio of the two.
func BenchmarkAppend(b *testing.B) {
	const size = 64 << 10
	dir := os.Getenv("BENCH_DIR") // a folder on the disk to measure
	if dir == "" {
		dir = b.TempDir()
	}
	for _, callers := range []int{1, 8} {
		b.Run(map[int]string{1: "1", 8: "8"}[callers], func(b *testing.B) {
			l, err := Open(filepath.Join(dir, b.Name()), Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			time.Sleep(200 * time.Millisecond) // spares are being written
			raw := rawRate(b, dir, size)
			record := make([]byte, size)
			var left atomic.Int64
			left.Store(int64(b.N))
			done := make(chan error)
			b.SetBytes(size)
			b.ResetTimer()
			for range callers {
				go func() {
					for left.Add(-1) >= 0 {
						if _, err := l.Append(record); err != nil {
							done <- err
							return
						}
						retireOld(l)
					}
					done <- nil
				}()
			}
			for range callers {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			b.StopTimer()
			rate := float64(b.N) / b.Elapsed().Seconds()
			b.ReportMetric(rate, "appends/s")
			b.ReportMetric(raw, "fdatasync/s")
			b.ReportMetric(rate/raw, "x/raw")
		})
	}
}

// retireOld keeps the log short, so that segments are recycled as in use.
func retireOld(l *Log) {
	if all := l.Segments(); len(all) > 3 {
		l.Retire(all[0].Gen)
	}
}

// rawRate is how many writes with fdatasync a second the disk gives one caller.
func rawRate(b *testing.B, dir string, size int64) float64 {
	d, err := disk.Open(filepath.Join(dir, "raw"), 0)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	defer d.Remove("raw.free")
	f, err := d.Create("raw.free", defaultSize)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if err := zero(f, 0, defaultSize); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	record := make([]byte, size)
	n, start := 0, time.Now()
	for ; time.Since(start) < time.Second; n++ {
		if _, err := f.WriteAt(record, int64(n)*size%defaultSize); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
	}
	return float64(n) / time.Since(start).Seconds()
}
