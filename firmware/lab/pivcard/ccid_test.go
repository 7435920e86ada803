package pivcard

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"clinicgate/firmware/lab"
)

// qemuEnd is the other end of a CCID connection, played by the test.
type qemuEnd struct {
	t *testing.T
	net.Conn
}

func (q qemuEnd) want(kind uint32) []byte {
	q.t.Helper()
	_ = q.SetReadDeadline(time.Now().Add(30 * time.Second))
	var hdr [12]byte
	if _, err := io.ReadFull(q, hdr[:]); err != nil {
		q.t.Fatalf("waiting for message %d: %v", kind, err)
	}
	body := make([]byte, binary.BigEndian.Uint32(hdr[8:]))
	if _, err := io.ReadFull(q, body); err != nil {
		q.t.Fatal(err)
	}
	if got := binary.BigEndian.Uint32(hdr[:]); got != kind {
		q.t.Fatalf("got message %d (%X), want %d", got, body, kind)
	}
	return body
}

func (q qemuEnd) send(kind uint32, body []byte) {
	q.t.Helper()
	if err := (&vscConn{Conn: q.Conn}).send(kind, body); err != nil {
		q.t.Fatal(err)
	}
}

// The talk with QEMU: greeting, card in, command, card out, QEMU killed and back.
func TestCCIDTalk(t *testing.T) {
	ends := make(chan net.Conn, 1)
	dial := func(ctx context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case ends <- there:
			return here, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	slot, card := NewSlot(), newCard(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); CCID(ctx, slot, dial) }()

	q := qemuEnd{t, <-ends}
	if got := q.want(vscInit); !bytes.HasPrefix(got, []byte("VSCD\x00\x00\x00\x02")) {
		t.Fatalf("greeting %X", got)
	}
	q.want(vscReaderAdd)
	if err := slot.Insert(card); err != nil {
		t.Fatal(err)
	}
	if got := q.want(vscATR); !bytes.Equal(got, card.ATR()) {
		t.Fatalf("ATR %X", got)
	}
	q.send(vscAPDU, unhex(t, selectPIV))
	if got := q.want(vscAPDU); !bytes.HasSuffix(got, []byte{0x90, 0}) {
		t.Fatalf("SELECT answered %X", got)
	}
	slot.Remove()
	q.want(vscCardRemove)
	if err := slot.Insert(card); err != nil {
		t.Fatal(err)
	}
	q.want(vscATR)

	q.Close()
	q = qemuEnd{t, <-ends}
	q.want(vscInit)
	q.want(vscReaderAdd)
	q.want(vscATR)
	cancel()
	<-done
}

// A real QEMU must take our greeting, reader and card: it answers with its own
// greeting and two times "success" (VSC_Error with code 0).
func TestCCIDWithQEMU(t *testing.T) {
	lab.Require(t, lab.Program("qemu-system-x86_64"))
	sock := filepath.Join(t.TempDir(), "ccid")
	qemu := exec.Command("qemu-system-x86_64", "-nodefaults", "-display", "none", "-S", "-accel", "tcg", "-m", "64",
		"-device", "qemu-xhci", "-device", "usb-ccid,id=ccid",
		"-chardev", "socket,id=card,server=on,wait=off,path="+sock, "-device", "ccid-card-passthru,chardev=card,bus=ccid.0")
	var said bytes.Buffer
	qemu.Stderr = &said
	if err := qemu.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = qemu.Process.Kill(); _ = qemu.Wait() }()

	heard := &recorder{}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	slot := NewSlot()
	if err := slot.Insert(newCard(t)); err != nil {
		t.Fatal(err)
	}
	go CCID(ctx, slot, func(ctx context.Context) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "unix", sock)
		return tap{c, heard}, err
	})
	want := unhex(t, "00000001 FFFFFFFF 0000000C 56534344 00000002 00000000"+ // VSC_Init of no reader
		"00000002 00000000 00000004 00000000"+ // VSC_Error, success: the reader
		"00000002 00000000 00000004 00000000") // the same: the card
	for !bytes.Equal(heard.bytes(), want) {
		select {
		case <-ctx.Done():
			t.Fatalf("heard %X, want %X; QEMU said %s", heard.bytes(), want, said.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// A recorder keeps what a tapped connection read.
type recorder struct {
	mu  sync.Mutex
	all []byte
}

func (r *recorder) bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.all)
}

type tap struct {
	net.Conn
	to *recorder
}

func (t tap) Read(b []byte) (int, error) {
	n, err := t.Conn.Read(b)
	t.to.mu.Lock()
	t.to.all = append(t.to.all, b[:n]...)
	t.to.mu.Unlock()
	return n, err
}
