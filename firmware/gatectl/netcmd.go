package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/netctl"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

func netCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "net",
		Short: "what netd serves the clinic's devices with, and how far the lines reach",
		Args:  usage(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "leases",
		Short: "which device has which address",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			list, err := netctl.Client{Run: o.source.Run}.Leases(cmd.Context())
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), struct {
					V      int          `json:"v"`
					Leases []wire.Lease `json:"leases"`
				}{1, list})
			}
			return showLeases(cmd.OutOrStdout(), list)
		},
	})
	cmd.AddCommand(&cobra.Command{
		Use:   "dns",
		Short: "who answers names, and how well",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := wirefile.Read[wire.Net](o.source.Run, wire.NetFile)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), struct {
					V   int       `json:"v"`
					DNS *wire.DNS `json:"dns"`
				}{1, n.DNS})
			}
			return showDNS(cmd.OutOrStdout(), n.DNS)
		},
	})
	cmd.AddCommand(&cobra.Command{
		Use:   "time",
		Short: "whether the clock is right, and who says so",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			n, err := wirefile.Read[wire.Net](o.source.Run, wire.NetFile)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), struct {
					V    int        `json:"v"`
					Time *wire.Time `json:"time"`
				}{1, n.Time})
			}
			return showTime(cmd.OutOrStdout(), n.Time)
		},
	})
	cmd.AddCommand(pingCommand(o), traceCommand(o), captureCommand(o))
	return cmd
}

// showTime prints what is known of the clock and the servers it is compared with.
func showTime(out io.Writer, t *wire.Time) error {
	switch {
	case t == nil:
		_, err := fmt.Fprintln(out, "this site tells nobody the time (net.ntp)")
		return err
	case t.Known:
		fmt.Fprintf(out, "the clock is right to %.1f ms, stratum %d, checked %s\n\n", t.ErrorMS, t.Stratum, t.Checked.Local().Format("Jan 2 15:04:05"))
	default:
		fmt.Fprint(out, "nobody knows whether the clock is right; devices are told so\n\n")
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tADDRESS\tBELIEVED\tOFFSET MS\tERROR MS\tREACH\tWHY NOT")
	for _, s := range t.Sources {
		believed := "no"
		if s.Believed {
			believed = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.1f\t%.1f\t%08b\t%s\n", s.Name, s.Address, believed, s.OffsetMS, s.ErrorMS, s.Reach, or(status.Plain(s.Why), "-"))
	}
	return w.Flush()
}

// showDNS prints the resolver's memory and the name servers it asks.
func showDNS(out io.Writer, d *wire.DNS) error {
	if d == nil {
		_, err := fmt.Fprintln(out, "this site has no resolver (net.dns)")
		return err
	}
	if !d.Answers {
		fmt.Fprintln(out, "THE RESOLVER DOES NOT ANSWER (gatectl doctor says why)")
	}
	fmt.Fprintf(out, "remembered: %d answers, %d KiB\n", d.Names, d.Bytes>>10)
	fmt.Fprintf(out, "answered:   %d from memory, %d asked of others, %d own names, %d old answers\n", d.Hits, d.Asked, d.Local, d.Stale)
	fmt.Fprintf(out, "refused:    %d answers that led into the clinic, %d questions of who asks too often\n\n", d.Refused, d.Limited)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVER\tBY\tANSWERS\tFAILURES\tIN A ROW\tMS")
	for _, s := range d.Servers {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%.0f\n", s.Address, or(s.Via, "-"), s.Answers, s.Failures, s.InRow, s.RTTMS)
	}
	return w.Flush()
}

// showLeases prints a line for each. What a device calls itself is its own word.
func showLeases(out io.Writer, list []wire.Lease) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ADDRESS\tDEVICE\tNAME\tSAYS\tUNTIL\tZONE")
	for _, l := range list {
		until := l.Until.Local().Format("Jan 2 15:04")
		if !l.Live {
			until = "over"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Address, l.MAC, or(l.Name, "-"), or(status.Plain(l.Says), "-"), until, l.Zone)
	}
	return w.Flush()
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
