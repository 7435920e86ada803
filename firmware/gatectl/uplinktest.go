package main

import (
	"context"
	"io"
	"net/url"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/netctl"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// testCommand says which line is dead and whose fault that is.
func testCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "test", Short: "each line from the cable outwards, and whose fault it is that one is dead", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return showBlames(cmd.Context(), o, cmd.OutOrStdout()) },
	}
}

// gatewayLimit is how long a gateway, which is one wire away, may think.
const gatewayLimit = 8 * time.Second

// showBlames asks every gateway at once. It exits with 1 when a line does not work.
func showBlames(ctx context.Context, o *options, out io.Writer) error {
	l := o.look()
	var lines []wire.Uplink
	if l.Box.Net.Presence == status.Live {
		lines = l.Box.Net.V.Uplinks
	}
	ctx, stop := context.WithTimeout(ctx, gatewayLimit)
	defer stop()
	all := make([]status.Blame, len(lines))
	var asked sync.WaitGroup
	for i, u := range lines {
		asked.Go(func() { all[i] = status.WhoseFault(u, gateway(ctx, o, u)) })
	}
	asked.Wait()
	if o.json {
		if err := printJSON(out, struct {
			V     int            `json:"v"`
			Lines []status.Blame `json:"lines"`
		}{1, all}); err != nil {
			return err
		}
	} else if _, err := io.WriteString(out, status.Blames(all, l.Box)); err != nil {
		return err
	}
	for _, b := range all {
		if b.Whose != status.FaultNone {
			return exit(exitRefused)
		}
	}
	if len(all) == 0 {
		return exit(exitFailed)
	}
	return nil
}

// gateway pings a line's next router by that line. When netd can't be asked, nobody
// knows.
func gateway(ctx context.Context, o *options, u wire.Uplink) status.Answer {
	if u.Gateway == "" {
		return status.Unasked
	}
	said := status.Unasked
	q := url.Values{"to": {u.Gateway}, "by": {u.Name}, "count": {"2"}}
	err := netctl.Client{Run: o.source.Run}.Echo(ctx, q, func(e wire.Echo) {
		switch {
		case e.Kind == wire.EchoReply:
			said = status.Answers
		case e.Kind == wire.EchoSilent && said == status.Unasked:
			said = status.Silence
		}
	})
	if err != nil {
		return status.Unasked
	}
	return said
}
