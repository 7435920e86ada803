package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"testing"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// Readers of its own open nothing in a box that stands by; one without readers, and
// one whose failoverd is dead, says nothing of the kind.
func TestStandbySays(t *testing.T) {
	for name, c := range map[string]struct {
		readers int
		role    string
		pid     int
		want    int
	}{
		"stands by":         {1, wire.RoleBackup, os.Getpid(), 1},
		"serves":            {1, wire.RoleMaster, os.Getpid(), 0},
		"no readers":        {0, wire.RoleBackup, os.Getpid(), 0},
		"failoverd is dead": {1, wire.RoleBackup, 1 << 22, 0},
	} {
		t.Run(name, func(t *testing.T) {
			log := slog.New(slog.NewTextHandler(io.Discard, nil))
			env := &daemon.Env{Run: t.TempDir(), Log: log, Faults: daemon.NewFaults(log)}
			f := &wire.Failover{Header: wire.Header{PID: c.pid}, Groups: []wire.Group{{Role: c.role}}}
			if err := wirefile.Publish(env.Run, wire.FailoverFile, f, 0o644); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			published := func() { cancel() } // once is enough
			if err := followPair(env, c.readers, published).Run(ctx); err != nil {
				t.Fatal(err)
			}
			if got := env.Faults.List(); len(got) != c.want {
				t.Errorf("faults %+v, want %d", got, c.want)
			}
		})
	}
}
