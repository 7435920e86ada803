package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"clinicgate/firmware/depot"
	"clinicgate/firmware/depot/returns"
	"clinicgate/firmware/rollout"
)

// serveCommand is the depot's web server with a desk for what boxes report.
func (o *opsOptions) serveCommand() *cobra.Command {
	var listen string
	limit := rollout.Limit{Boxes: 2, Percent: 10}
	cmd := &cobra.Command{
		Use: "serve", Short: "serve the depot, take boxes' reports, halt a rollout by itself when too many fail", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := depot.LoadKeys(o.keys)
			if err != nil {
				return err
			}
			for _, role := range []string{"rollout", "snapshot", "timestamp"} {
				if len(keys[role]) == 0 {
					return fmt.Errorf("serve: no key of role %s at hand: nothing could be halted", role)
				}
			}
			if _, err := returns.Load(o.dir); err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewJSONHandler(cmd.OutOrStdout(), nil))
			log.Info("serving", "depot", o.dir, "address", l.Addr(), "boxes", limit.Boxes, "percent", limit.Percent)
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return serveDepot(ctx, l, &returns.Desk{Dir: o.dir, Keys: keys, Limit: limit, Log: log})
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8090", "`address` to serve at; one that only boxes' tunnels lead to")
	cmd.Flags().IntVar(&limit.Boxes, "failures", limit.Boxes, "halt at so many `boxes` with a failure, not before")
	cmd.Flags().IntVar(&limit.Percent, "share", limit.Percent, "and at so many `percent` of the boxes that tried")
	return cmd
}

func serveDepot(ctx context.Context, l net.Listener, desk http.Handler) error {
	server := &http.Server{Handler: desk, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute, IdleTimeout: time.Minute}
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// counted says how a release fares.
func counted(c rollout.Count) string {
	if c.Runs+c.Trial+c.Failed == 0 {
		return "no reports"
	}
	text := fmt.Sprintf("runs on %d, on trial on %d, failed on %d", c.Runs, c.Trial, c.Failed)
	if len(c.Why) > 0 {
		text += " (" + strings.Join(c.Why, "; ") + ")"
	}
	return text
}
