package link

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
)

// TestCable plugs and unplugs a veth and takes the port away: each time Watch must
// tell, and Read must say what is true.
func TestCable(t *testing.T) {
	lab.Require(t, lab.Root, lab.Program("ip"))
	space, err := netns.New(fmt.Sprintf("netd-link-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer space.Close()
	ctx, cancel := context.WithCancel(t.Context())
	changes := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- space.Do(func() error {
			return Watch(ctx, func() {
				select {
				case changes <- struct{}{}:
				default:
				}
			})
		})
	}()
	for _, step := range []struct{ do, why string }{
		{"link show lo", "no such port"},
		{"link add wan1 type veth peer name isp", "port is switched off"},
		{"link set wan1 up", "no carrier"},
		{"link set isp up", ""},
		{"link set isp down", "no carrier"},
		{"link set isp up", ""},
		{"link del wan1", "no such port"},
	} {
		args := append([]string{"-n", space.Name}, strings.Fields(step.do)...)
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", step.do, err, out)
		}
		if got := await(t, space, changes, step.why); got != step.why {
			t.Errorf("after %q: got %q, want %q", step.do, got, step.why)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("watch: %v", err)
	}
}

// await reads after each told change until the port is as wanted.
func await(t *testing.T, space *netns.Space, changes <-chan struct{}, want string) string {
	t.Helper()
	for {
		select {
		case <-changes:
		case <-time.After(30 * time.Second):
			return "no change was told"
		}
		var all map[string]State
		err := space.Do(func() (err error) {
			all, err = Read([]string{"wan1", "lo"})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := all["wan1"].Why(); got == want {
			return got
		}
	}
}
