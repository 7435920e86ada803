package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// Publish fills the header of v and replaces the daemon's wire file with it,
// unless nothing but the time would change. Faults come from env.Faults. The file
// is readable by the clinicgate group, not by others. Safe for concurrent use.
func (env *Env) Publish(file string, v interface{ Head() *wire.Header }) error {
	env.mu.Lock()
	defer env.mu.Unlock()
	*v.Head() = wire.Header{V: wire.Version, Program: env.Name, Release: env.Release, PID: os.Getpid(), Faults: env.Faults.List()}
	same, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("publish %s: %w", file, err)
	}
	if bytes.Equal(same, env.last) {
		return nil
	}
	v.Head().Published = time.Now().UTC().Truncate(time.Millisecond)
	if err := wirefile.Publish(env.Run, file, v, 0o640); err != nil {
		return err
	}
	env.last = same
	return nil
}

// Control returns the task that serves mux on the daemon's control socket,
// RUN/NAME.sock, to root and the clinicgate group.
func (env *Env) Control(mux *http.ServeMux) Task {
	return Task{Name: "control socket", Run: func(ctx context.Context) error {
		path := filepath.Join(env.Run, env.Name+".sock")
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) { // left by a killed run
			return err
		}
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		if err := os.Chmod(path, 0o660); err != nil {
			l.Close()
			return err
		}
		return ServeHTTP(ctx, l, Server(mux, env.Log))
	}}
}

// Server returns an HTTP server for h with the bounds every endpoint of the box
// wants: headers within 10 s and 64 KiB. What it says of clients that break off,
// in TLS or later, is for log's debug level: strangers would fill it otherwise.
func Server(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// ServeHTTP serves srv on l until ctx ends and the requests in flight are
// answered, or their two seconds are over: then the caller may close what they
// stand on.
func ServeHTTP(ctx context.Context, l net.Listener, srv *http.Server) error {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		late, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if srv.Shutdown(late) != nil {
			srv.Close()
		}
	})
	err := srv.Serve(l)
	if stop() || !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-ended
	return nil
}

// Ready tells the supervisor, by the sd_notify protocol, that the daemon serves.
// Without a supervisor it does nothing.
func (env *Env) Ready() { env.notify("READY=1") }

func (env *Env) notify(state string) {
	addr := os.Getenv("NOTIFY_SOCKET")
	if addr == "" {
		return
	}
	c, err := net.Dial("unixgram", addr)
	if err == nil {
		_, err = c.Write([]byte(state))
		c.Close()
	}
	if err != nil {
		env.Log.Warn("tell the supervisor", "state", state, "err", err)
	}
}
