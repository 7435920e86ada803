package supervise

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"clinicgate/firmware/wire"
)

// A notifySocket is where one run of a service says READY=1, by the protocol of
// sd_notify(3). It belongs to the service's user, so no other service can speak
// for it. Nil when the service doesn't notify.
type notifySocket struct {
	path string
	conn *net.UnixConn
}

func listenNotify(dir string, svc *service) (*notifySocket, error) {
	if !svc.Notify {
		return nil, nil
	}
	n := &notifySocket{path: filepath.Join(dir, svc.Name)}
	if err := os.Remove(n.path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	var err error
	if n.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: n.path, Net: "unixgram"}); err != nil {
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	if err = os.Chmod(n.path, 0o600); err == nil {
		err = os.Chown(n.path, svc.UID, svc.GID)
	}
	if err != nil {
		n.close()
		return nil, fmt.Errorf("notification socket: %w", err)
	}
	return n, nil
}

func (n *notifySocket) close() {
	if n != nil {
		n.conn.Close()
	}
}

// awaitReady marks the service ready when it says so, once per run.
func (s *Supervisor) awaitReady(ctx context.Context, svc *service, r *run) {
	switch {
	case svc.Notify:
		if !r.notify.await() {
			return // closed: the run is over
		}
	case svc.ReadyFile != "":
		if !awaitFile(ctx, svc.ReadyFile, r.began) {
			return
		}
	}
	s.set(svc, func(st *wire.Service) {
		if st.PID == r.pid && st.State == wire.ServiceStarting {
			st.State = wire.ServiceReady
		}
	})
}

// await returns true when READY=1 arrives, false when the socket is closed.
func (n *notifySocket) await() bool {
	buf := make([]byte, 4096)
	for {
		size, err := n.conn.Read(buf)
		if err != nil {
			return false
		}
		if ready(string(buf[:size])) {
			return true
		}
	}
}

// ready finds READY=1 among the lines of a notification.
func ready(message string) bool {
	for line := range strings.SplitSeq(message, "\n") {
		if line == "READY=1" {
			return true
		}
	}
	return false
}

// awaitFile waits for a file made since began: one from an earlier run does not
// count.
func awaitFile(ctx context.Context, path string, began time.Time) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		// A clock tick is coarser than our clock, so allow for it.
		if fi, err := os.Stat(path); err == nil && fi.ModTime().After(began.Add(-20*time.Millisecond)) {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}
