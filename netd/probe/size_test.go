package probe

import (
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"clinicgate/firmware/lab"

	"golang.org/x/sys/unix"
)

// TestPad: an echo with zeros behind it is still one, anything else behind it is not
// ours.
func TestPad(t *testing.T) {
	e := echo{id: 1, round: 1400, cookie: 3}
	b := pad(e.marshal(), 1380)
	if len(b) != 1380 || checksum(b) != 0 {
		t.Errorf("%d bytes with checksum %x", len(b), checksum(b))
	}
	head, ok := unpad(reply(b))
	if got, err := parse(head); !ok || err != nil || got != e {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
	b[1000] = 1
	if _, ok := unpad(b); ok {
		t.Error("taken with something behind it")
	}
	for _, n := range []int{0, echoLen - 1, maxSize + 1} {
		if _, ok := unpad(make([]byte, n)); ok {
			t.Errorf("taken with %d bytes", n)
		}
	}
}

// TestSizer asks a real kernel through a link of 1400 bytes.
func TestSizer(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("ip"))
	runtime.LockOSThread() // never unlocked: the namespace ends with the thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	script := `ip link add wan1 type veth peer name isp
ip link set wan1 up mtu 1400; ip addr add 198.51.100.2/24 dev wan1
unshare -n sh -c 'ip link set lo up; sleep 5' >/dev/null 2>&1 & pid=$!
sleep 0.2; ip link set isp netns $pid
nsenter -t $pid -n sh -c 'ip link set isp up; ip addr add 198.51.100.1/24 dev isp'`
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s, err := OpenSizer(t.Context(), "wan1", 0x10000, netip.MustParseAddr("198.51.100.1"))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan int, 8)
	ended := make(chan error, 1)
	go func() { ended <- s.Receive(func(size int) { got <- size }) }()
	for _, size := range []int{1480, 1400, 1280} {
		if err := s.Send(size); err != nil {
			t.Fatal(err)
		}
	}
	var sizes []int
	for len(sizes) < 2 {
		select {
		case size := <-got:
			sizes = append(sizes, size)
		case <-time.After(30 * time.Second):
			t.Fatalf("got %v only", sizes)
		}
	}
	if slices.Sort(sizes); !slices.Equal(sizes, []int{1280, 1400}) {
		t.Errorf("got %v, want 1280 and 1400", sizes)
	}
	s.Close()
	if err := <-ended; err != nil {
		t.Errorf("receive: %v", err)
	}
}
