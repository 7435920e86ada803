package probe

import (
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"clinicgate/firmware/lab"

	"golang.org/x/sys/unix"
)

// reply turns a request into what a target would answer.
func reply(req []byte) []byte {
	b := append([]byte(nil), req...)
	b[0], b[2], b[3] = typeEchoReply, 0, 0
	sum := checksum(b)
	b[2], b[3] = byte(sum>>8), byte(sum)
	return b
}

func TestEcho(t *testing.T) {
	want := echo{id: 0x1234, round: 1<<40 + 70000, cookie: 0xfeedface}
	req := want.marshal()
	if checksum(req) != 0 {
		t.Errorf("checksum of %x is not right", req)
	}
	if _, err := parse(req); err == nil {
		t.Error("a request was taken for a reply")
	}
	got, err := parse(reply(req))
	if err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	for i := range req {
		bad := reply(req)
		bad[i] ^= 0x01
		if _, err := parse(bad); err == nil {
			t.Errorf("byte %d changed, still taken", i)
		}
	}
}

func TestCheck(t *testing.T) {
	target := netip.MustParseAddr("192.0.2.1")
	p := &Prober{targets: []netip.Addr{target}, self: echo{id: 7, cookie: 9}}
	from := func(a string) *net.IPAddr { return &net.IPAddr{IP: net.ParseIP(a)} }
	good := reply(echo{id: 7, round: 3, cookie: 9}.marshal())
	if round, ok := p.check(from("192.0.2.1"), good); !ok || round != 3 {
		t.Errorf("got %d, %v", round, ok)
	}
	if _, ok := p.check(from("192.0.2.2"), good); ok {
		t.Error("answer of a stranger taken")
	}
	if _, ok := p.check(from("192.0.2.1"), reply(echo{id: 7, round: 3, cookie: 8}.marshal())); ok {
		t.Error("answer with a wrong cookie taken")
	}
}

// TestThroughDevice probes a real kernel over a veth, and a target nobody has.
func TestThroughDevice(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("ip"))
	runtime.LockOSThread() // never unlocked: the namespace ends with the thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	script := `ip link add wan1 type veth peer name isp
ip link set wan1 up; ip addr add 198.51.100.2/24 dev wan1
unshare -n sh -c 'ip link set lo up; sleep 5' >/dev/null 2>&1 & pid=$!
sleep 0.2; ip link set isp netns $pid
nsenter -t $pid -n sh -c 'ip link set isp up; ip addr add 198.51.100.1/24 dev isp'`
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p, err := Open(t.Context(), "wan1", 0x10000, []netip.Addr{netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.9")})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan uint64, 8)
	ended := make(chan error, 1)
	go func() { ended <- p.Receive(func(round uint64) { got <- round }) }()
	if err := p.Send(41); err != nil {
		t.Fatal(err)
	}
	select {
	case round := <-got:
		if round != 41 {
			t.Errorf("got round %d, want 41", round)
		}
	case <-time.After(30 * time.Second):
		t.Error("no answer")
	}
	p.Close()
	if err := <-ended; err != nil {
		t.Errorf("receive: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(reply(echo{id: 1, round: 2, cookie: 3}.marshal()))
	f.Add([]byte{0, 0, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parse(b)
		if err != nil {
			return
		}
		if again, err := parse(reply(e.marshal())); err != nil || again != e {
			t.Fatalf("got %+v, %v, want %+v", again, err, e)
		}
	})
}
