package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds of a connection.
const (
	headerWithin = 10 * time.Second // the TLS handshake too
	idleFor      = 2 * time.Minute
	maxHeader    = 16 << 10
	lastAnswers  = 2 * time.Second // for requests in flight at the end
)

// HTTP serves h on l until ctx ends and the requests in flight are answered, or
// their time is over: then the caller may close what they stand on. What strangers
// do wrong in their handshakes goes to the log's debug level: it would fill it
// otherwise.
func HTTP(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{
		Handler: h, ReadHeaderTimeout: headerWithin, ReadTimeout: headerWithin, IdleTimeout: idleFor, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		late, cancel := context.WithTimeout(context.Background(), lastAnswers)
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
