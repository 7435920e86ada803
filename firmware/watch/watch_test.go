package watch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"clinicgate/firmware/durable"
)

func TestFileSeesEachWayOfChange(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.json")
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{}, 64)
	done := make(chan error, 1)
	go func() { done <- File(ctx, path, func() { calls <- struct{}{} }) }()

	expect := func(what string) {
		t.Helper()
		select {
		case <-calls:
		case <-time.After(10 * time.Second):
			t.Fatalf("no call after %s", what)
		}
		for len(calls) > 0 {
			<-calls
		}
	}
	expect("start")
	steps := []struct {
		what string
		do   func() error
	}{
		{"create", func() error { return os.WriteFile(path, []byte("1"), 0o600) }},
		{"replace by rename", func() error { return durable.WriteFile(path, []byte("2"), 0o600) }},
		{"second replace", func() error { return durable.WriteFile(path, []byte("3"), 0o600) }},
		{"remove", func() error { return os.Remove(path) }},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			t.Fatal(err)
		}
		expect(s.what)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatalf("after cancel: %v", err)
	}
}

func TestFileWithoutFolder(t *testing.T) {
	err := File(t.Context(), filepath.Join(t.TempDir(), "no", "x"), func() { t.Error("called") })
	if err == nil {
		t.Fatal("a missing folder went unnoticed")
	}
}
