package dimse

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"clinicgate/syncd/dimse/pdu"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/segment"
)

// mostResident is what the node may have in memory, whatever it is sent.
const mostResident = 128 << 10 // KiB

// A multi-frame instance passes through a whole node, queue and disk, in less memory
// than it has bytes. CLINICGATE_LARGE is its size in MiB, up to 4095.
func TestLargeInstanceResident(t *testing.T) {
	size := int64(192)
	if text := os.Getenv("CLINICGATE_LARGE"); text != "" {
		var err error
		if size, err = strconv.ParseInt(text, 10, 64); err != nil || size < 1 || size > 4095 {
			t.Fatalf("CLINICGATE_LARGE: got %q, want 1 to 4095", text)
		}
	}
	dir := t.TempDir()
	node, addr := startProcess(t, dir)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	s := newSCU(t, conn).open()
	s.command(3, storeRQ(1))
	s.data(3, false, ecg(t))
	pixels := []byte{0xe0, 0x7f, 0x10, 0x00, 'O', 'W', 0, 0}
	s.data(3, false, binary.LittleEndian.AppendUint32(pixels, uint32(size<<20)))
	piece := pdu.Append(nil, &pdu.Data{PDVs: []pdu.PDV{{Context: 3, Value: make([]byte, 64<<10)}}})
	for range size << 20 / (64 << 10) { // zeros, which nobody has to hold
		if _, err := conn.Write(piece); err != nil {
			t.Fatal(err)
		}
	}
	s.data(3, true, nil)
	if c := s.answer(); c.Status != 0 {
		t.Fatalf("got %+v", c)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", node.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var most int64
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	if _, err := fmt.Sscan(after, &most); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB through %d MiB of memory", size, most>>10)
	if most > mostResident {
		t.Errorf("%d MiB were resident, want at most %d", most>>10, mostResident>>10)
	}
	node.Process.Kill()
	node.Wait()
	q, err := openQueue(dir, segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if items := q.List(queue.Waiting); len(items) != 1 || items[0].Size < size<<20 {
		t.Errorf("got %+v, want one of %d MiB", items, size)
	}
}
