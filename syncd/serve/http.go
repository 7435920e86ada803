package serve

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"clinicgate/firmware/daemon"
)

// Bounds of a connection, closer than the house's: nobody sends much to read.
const (
	headerWithin = 10 * time.Second // the body too
	idleFor      = 2 * time.Minute
	maxHeader    = 16 << 10
)

// HTTP serves h on l until ctx ends and the requests in flight are answered, or
// their time is over.
func HTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := daemon.Server(h, log)
	srv.ReadTimeout, srv.IdleTimeout, srv.MaxHeaderBytes = headerWithin, idleFor, maxHeader
	return daemon.ServeHTTP(ctx, l, srv)
}
