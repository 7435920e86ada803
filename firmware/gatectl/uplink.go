package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/netctl"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// uplinkCommand lists the lines out; why explains which one a flow takes.
func uplinkCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "uplink",
		Short: "the lines to the internet: state, quality, rates, the month's volume",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return showUplinks(o, cmd.OutOrStdout()) },
	}
	cmd.AddCommand(whyCommand(o), testCommand(o))
	return cmd
}

// showUplinks exits with 0 when one can be used, 1 when none can, 2 when netd says
// nothing.
func showUplinks(o *options, out io.Writer) error {
	l := o.look()
	net := l.Box.Net
	if o.json {
		uplinks := []wire.Uplink{}
		if net.V != nil {
			uplinks = net.V.Uplinks
		}
		err := printJSON(out, struct {
			V        int           `json:"v"`
			At       time.Time     `json:"at"`
			Presence string        `json:"presence"`
			Uplinks  []wire.Uplink `json:"uplinks"`
		}{1, l.At.UTC(), string(net.Presence), uplinks})
		if err != nil {
			return err
		}
	} else if _, err := io.WriteString(out, status.Uplinks(net, l.At)); err != nil {
		return err
	}
	switch {
	case net.Presence != status.Live:
		return exit(exitFailed)
	case net.V.Active == "":
		return exit(exitRefused)
	}
	return nil
}

func whyCommand(o *options) *cobra.Command {
	var proto string
	var dscp int
	cmd := &cobra.Command{
		Use:   "why SRC DST[:PORT]",
		Short: "which uplink a new connection takes, and why not another",
		Args:  usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			dst, port, has := strings.Cut(args[1], ":")
			if has && proto == "" {
				proto = "tcp"
			}
			q := url.Values{"src": {args[0]}, "dst": {dst}, "dscp": {strconv.Itoa(dscp)}}
			for key, v := range map[string]string{"proto": proto, "port": port} {
				if v != "" {
					q.Set(key, v)
				}
			}
			w, err := netctl.Client{Run: o.source.Run}.Why(cmd.Context(), q)
			if errors.Is(err, netctl.ErrQuestion) {
				return fmt.Errorf("%w: %w", errUsage, err)
			}
			if err != nil {
				return err
			}
			return showWay(o, cmd.OutOrStdout(), w)
		},
	}
	cmd.Flags().StringVar(&proto, "proto", "", "tcp, udp or icmp (tcp where a port is named)")
	cmd.Flags().IntVar(&dscp, "dscp", 0, "of its packets, 0 to 63")
	return cmd
}

// showWay exits with 1 when there is no way, 2 when the kernel does not agree.
func showWay(o *options, out io.Writer, w wire.FlowWay) error {
	if o.json {
		if err := printJSON(out, w); err != nil {
			return err
		}
	} else if _, err := io.WriteString(out, status.Way(w)); err != nil {
		return err
	}
	switch {
	case !w.Agrees:
		return exit(exitFailed)
	case w.Kind == wire.WayNone || w.Kind == wire.WayRefused:
		return exit(exitRefused)
	}
	return nil
}
