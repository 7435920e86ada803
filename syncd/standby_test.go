package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
	"clinicgate/syncd/deliver"
)

func TestHolds(t *testing.T) {
	lanes := []wire.Lane{{Name: "stat", Waiting: 1}, {Name: "bulk"}}
	if f := holds(false, lanes); f != nil {
		t.Errorf("the master: %+v", f)
	}
	if f := holds(true, nil); f != nil {
		t.Errorf("nothing waits: %+v", f)
	}
	if f := holds(true, lanes); f == nil || !strings.HasPrefix(f.What, "1 upload waits in this box") || !strings.Contains(f.Do, "have it delivered") {
		t.Errorf("got %+v", f)
	}
	lanes[1].Waiting = 2
	if f := holds(true, lanes); f == nil || !strings.HasPrefix(f.What, "3 uploads wait") || f.ID != faultHolds || f.Severity != wire.Warning {
		t.Errorf("got %+v", f)
	}
}

// It follows failoverd's word, and not that of one that is dead.
func TestFollowPair(t *testing.T) {
	s := &state{env: &daemon.Env{Run: t.TempDir(), Log: slog.New(slog.NewTextHandler(io.Discard, nil))}, deliver: &deliver.Engine{}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.followPair(ctx) }()
	for i, c := range []struct {
		role string
		pid  int
		want bool
	}{
		{wire.RoleBackup, os.Getpid(), true}, {wire.RoleMaster, os.Getpid(), false},
		{wire.RoleBackup, os.Getpid(), true}, {wire.RoleBackup, 1 << 22, false},
	} {
		f := &wire.Failover{Header: wire.Header{PID: c.pid}, Groups: []wire.Group{{Role: c.role}}}
		if err := wirefile.Publish(s.env.Run, wire.FailoverFile, f, 0o644); err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(10 * time.Second); s.standby.Load() != c.want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("step %d: standby is %v", i, !c.want)
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
