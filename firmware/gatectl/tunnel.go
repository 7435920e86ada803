package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// tunnelCommand lists the tunnels with their hubs and paths.
func tunnelCommand(o *options) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "tunnel",
		Short: "the tunnels: hub in use, last handshake, and by each line rtt, loss, rate, copies",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return repeat(cmd.Context(), cmd.OutOrStdout(), refresh, func(out io.Writer) (collect.Look, error) {
					l := o.look()
					return l, printTunnels(o, l, out)
				})
			}
			return showTunnels(o, cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "go on showing until interrupted")
	return cmd
}

// showTunnels exits with 0 when all are up, 1 when one is not, 2 when netd says
// nothing.
func showTunnels(o *options, out io.Writer) error {
	l := o.look()
	if err := printTunnels(o, l, out); err != nil {
		return err
	}
	if l.Box.Net.Presence != status.Live || l.Box.Net.V == nil {
		return exit(exitFailed)
	}
	for _, t := range l.Box.Net.V.Tunnels {
		if t.State != wire.TunnelUp {
			return exit(exitRefused)
		}
	}
	return nil
}

func printTunnels(o *options, l collect.Look, out io.Writer) error {
	net := l.Box.Net
	if !o.json {
		_, err := io.WriteString(out, status.Tunnels(net, l.At))
		return err
	}
	tunnels := []wire.Tunnel{}
	if net.V != nil {
		tunnels = net.V.Tunnels
	}
	return printJSON(out, struct {
		V        int           `json:"v"`
		At       time.Time     `json:"at"`
		Presence string        `json:"presence"`
		Tunnels  []wire.Tunnel `json:"tunnels"`
	}{1, l.At.UTC(), string(net.Presence), tunnels})
}
