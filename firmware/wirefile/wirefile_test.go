package wirefile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/wire"
)

func TestFollow(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan *wire.Net, 16)
	bad := make(chan error, 16)
	done := make(chan error, 1)
	go func() {
		done <- Follow(ctx, dir, wire.NetFile, func(n *wire.Net) { got <- n }, func(err error) { bad <- err })
	}()
	if n := next(t, got); n != nil {
		t.Fatalf("before publication: got %+v, want nil", n)
	}
	if err := Publish(dir, wire.NetFile, &wire.Net{Active: "isp-a"}, 0o644); err != nil {
		t.Fatal(err)
	}
	if n := next(t, got); n == nil || n.Active != "isp-a" {
		t.Fatalf("got %+v, want active isp-a", n)
	}
	if err := os.WriteFile(filepath.Join(dir, wire.NetFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := next(t, bad); err == nil {
		t.Fatal("half a file was taken")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestReadBounds(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read[wire.Net](dir, "none.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file: got %v, want fs.ErrNotExist", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big.json"), make([]byte, maxSize+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read[wire.Net](dir, "big.json"); err == nil {
		t.Fatal("an oversized file was taken")
	}
}

func next[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing arrived")
		panic("unreachable")
	}
}
