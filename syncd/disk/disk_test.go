package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDir(t *testing.T) {
	dir := t.TempDir()
	d, err := Open(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, 0); err == nil {
		t.Fatal("two have the folder")
	}
	f, err := d.Create("a.new", 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Create("a.new", 1<<16); err == nil {
		t.Fatal("a file was made a second time")
	}
	if n, err := f.Size(); n != 1<<16 || err != nil {
		t.Fatalf("size %d, %v", n, err)
	}
	if _, err := f.WriteAt([]byte("text"), 100); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close(), d.Rename("a.new", "a.seg"), d.Sync()); err != nil {
		t.Fatal(err)
	}
	if f, err = d.Open("a.seg"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := f.ReadAt(b, 100); err != nil || !bytes.Equal(b, []byte("text")) {
		t.Fatalf("read %q, %v", b, err)
	}
	f.Close()
	if names, err := d.List(); fmt.Sprint(names) != "[a.seg]" || err != nil {
		t.Fatalf("names %v, %v", names, err)
	}
	if err := errors.Join(d.Remove("a.seg"), d.Close()); err != nil {
		t.Fatal(err)
	}
	if d, err = Open(dir, 0); err != nil {
		t.Fatalf("after the other gave it up: %v", err)
	}
	d.Close()
}

// What doesn't fit leaves nothing, and room is left to others.
func TestNoRoom(t *testing.T) {
	d, err := Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if d.Capacity() <= 0 {
		t.Error("the file system has no size")
	}
	if _, err := d.Create("huge", d.Capacity()); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a file as large as the disk: %v", err)
	}
	d.keepFree = math.MaxInt64
	if _, err := d.Create("small", 4096); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("a file where all is kept free: %v", err)
	}
	d.Close()
	if names, err := d.List(); len(names) != 0 || err != nil {
		t.Errorf("names %v, %v; want none", names, err)
	}
}
