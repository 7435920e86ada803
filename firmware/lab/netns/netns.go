// Package netns makes the network namespaces a lab is built of, and the links,
// addresses and routes between them. It guarantees that nothing outside the
// namespaces it made is ever changed, and that whatever runs inside one runs on
// an operating system thread that no other goroutine will get afterwards.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// dir is where iproute2 looks for named namespaces, so that `ip netns exec` works
// in a lab that somebody looks around in.
const dir = "/run/netns"

// Space is one network namespace. It stays until Close or Remove, also when the
// process that made it dies.
type Space struct {
	Name string
	fd   netns.NsHandle
	nl   *netlink.Handle
}

// New makes the namespace called name, with its loopback up.
func New(name string) (*Space, error) {
	s := &Space{Name: name, fd: netns.None()}
	err := thread(func() (err error) {
		s.fd, err = netns.NewNamed(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", name, err)
	}
	if s.nl, err = netlink.NewHandleAt(s.fd); err == nil {
		err = s.Up("lo")
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// thread runs f on an operating system thread of its own. The thread is never
// unlocked, so it ends with f and a namespace entered by f can't leak.
func thread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// Do runs f inside the namespace. Only what f does in its own goroutine is inside;
// sockets it opens stay inside.
func (s *Space) Do(f func() error) error {
	return thread(func() error {
		if err := s.Enter(); err != nil {
			return err
		}
		return f()
	})
}

// Enter moves the calling thread into the namespace. The caller has locked its
// goroutine to the thread and never unlocks it.
func (s *Space) Enter() error {
	if err := netns.Set(s.fd); err != nil {
		return fmt.Errorf("enter namespace %s: %w", s.Name, err)
	}
	return nil
}

// DialContext connects from inside the namespace. The address is a literal one:
// looking up a name would leave the thread.
func (s *Space) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if net.ParseIP(host) == nil {
		return nil, fmt.Errorf("dial from %s: want an IP address, got %q", s.Name, host)
	}
	doErr := s.Do(func() error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, network, address)
		return nil
	})
	return conn, errors.Join(doErr, err)
}

// Close removes the namespace with every device in it.
func (s *Space) Close() error {
	if s.nl != nil {
		s.nl.Close()
	}
	if s.fd.IsOpen() {
		s.fd.Close()
	}
	return Remove(s.Name)
}

// Remove removes a namespace left over by name; none is fine too.
func Remove(name string) error {
	path := filepath.Join(dir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove namespace %s: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove namespace: %w", err)
	}
	return nil
}

// Processes are those whose first thread lives in the namespace called name, but
// not this one. A namespace that isn't there has none.
func Processes(name string) ([]int, error) {
	var space unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, name), &space); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		return nil, fmt.Errorf("processes of namespace %s: %w", name, err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/net")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, link := range links {
		var own unix.Stat_t
		if unix.Stat(link, &own) != nil || own.Ino != space.Ino || own.Dev != space.Dev {
			continue // ended meanwhile, or elsewhere
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err == nil && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// List names the namespaces that start with prefix.
func List(prefix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), prefix) {
			names = append(names, e.Name())
		}
	}
	return names, err
}
