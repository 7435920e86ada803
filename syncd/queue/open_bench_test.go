package queue

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"clinicgate/syncd/segment"
	"clinicgate/syncd/vault"
)

// BenchmarkOpen is a start with 256 MiB waiting, in items of 64 KiB.
func BenchmarkOpen(b *testing.B) {
	v, err := vault.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	o, dir := Options{Domain: v.Domain("uploads"), Segment: segment.Options{SegmentSize: 16 << 20}}, b.TempDir()
	q, err := Open(dir, o)
	if err != nil {
		b.Fatal(err)
	}
	const items, size = 4096, 64 << 10
	for i := range items {
		if _, err := q.Accept(context.Background(), item(fmt.Sprint(i)), bytes.NewReader(noise(size, byte(i)))); err != nil {
			b.Fatal(err)
		}
	}
	q.Close()
	b.SetBytes(items * size)
	for b.Loop() {
		if q, err = Open(dir, o); err != nil {
			b.Fatal(err)
		}
		q.Close()
	}
}
