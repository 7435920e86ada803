package tpm

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A device that takes its time: who reads waits for the answer.
func TestOpenWaits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tpm")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	device, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	raw, err := device.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
		_, rest, _ := strings.Cut(string(info), "flags:\t")
		var flags int
		if _, scan := fmt.Sscanf(rest, "%o", &flags); err != nil || scan != nil || flags&syscall.O_NONBLOCK != 0 {
			t.Errorf("flags %#o, %v: it does not block", flags, errors.Join(err, scan))
		}
	}); err != nil {
		t.Fatal(err)
	}
	want := []byte("an answer")
	go func() {
		time.Sleep(50 * time.Millisecond)
		device.Write(want) // what is written to a pipe comes back
	}()
	buf := make([]byte, 64)
	if n, err := device.Read(buf); err != nil || !bytes.Equal(buf[:n], want) {
		t.Errorf("got %q, %v", buf[:n], err)
	}
}

func TestOpenNone(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "tpm")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is none", err)
	}
}
