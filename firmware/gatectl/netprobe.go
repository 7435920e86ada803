package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/netctl"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// echoes is `gatectl net ping|trace --json`.
type echoes struct {
	V       int         `json:"v"` // 1
	To      string      `json:"to"`
	By      string      `json:"by"`
	Reached bool        `json:"reached"`
	Answers []wire.Echo `json:"answers"`
}

func pingCommand(o *options) *cobra.Command {
	var by string
	count := 4
	cmd := &cobra.Command{
		Use: "ping ADDRESS", Short: "whether an address answers, by a line, a tunnel or a network of the clinic", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"to": {args[0]}, "by": {by}, "count": {strconv.Itoa(count)}}
			return showEchoes(cmd.Context(), o, cmd.OutOrStdout(), q, func(e wire.Echo) string {
				return fmt.Sprintf("%3d  %s", e.Seq, echoLine(e))
			})
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "`name` of an uplink, a tunnel or a zone; unset: as the box itself would")
	cmd.Flags().IntVarP(&count, "count", "n", count, "how many, 100 at most")
	return cmd
}

func traceCommand(o *options) *cobra.Command {
	var by string
	cmd := &cobra.Command{
		Use: "trace ADDRESS", Short: "which routers are on the way to an address", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"to": {args[0]}, "by": {by}, "trace": {"1"}}
			return showEchoes(cmd.Context(), o, cmd.OutOrStdout(), q, func(e wire.Echo) string {
				return fmt.Sprintf("%3d  %s", e.Hops, echoLine(e))
			})
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "`name` of an uplink, a tunnel or a zone; unset: as the box itself would")
	return cmd
}

// showEchoes shows each as it comes, and exits with 1 when the address never answered.
func showEchoes(ctx context.Context, o *options, out io.Writer, q url.Values, line func(wire.Echo) string) error {
	all := echoes{V: 1, To: q.Get("to"), By: q.Get("by"), Answers: []wire.Echo{}}
	err := netctl.Client{Run: o.source.Run}.Echo(ctx, q, func(e wire.Echo) {
		all.Answers = append(all.Answers, e)
		all.Reached = all.Reached || e.Kind == wire.EchoReply
		if !o.json {
			fmt.Fprintln(out, line(e))
		}
	})
	if err != nil {
		return netQuestion(err)
	}
	if o.json {
		err = printJSON(out, all)
	} else if !all.Reached {
		_, err = fmt.Fprintf(out, "%s did not answer\n", status.Plain(all.To))
	}
	if err == nil && !all.Reached {
		return exit(exitRefused)
	}
	return err
}

func echoLine(e wire.Echo) string {
	switch e.Kind {
	case wire.EchoReply, wire.EchoExceeded:
		return fmt.Sprintf("%-15s %.1f ms", e.From, e.MS)
	case wire.EchoUnreachable:
		return fmt.Sprintf("%-15s says that there is no way on", e.From)
	case wire.EchoSilent:
		return "no answer"
	}
	return "not sent: " + status.Plain(e.Why)
}

func captureCommand(o *options) *cobra.Command {
	var file string
	packets, seconds := 1000, 30
	cmd := &cobra.Command{
		Use: "capture NAME", Short: "write what passes an uplink, a tunnel or a zone into a pcap file: headers, no content", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			q := url.Values{"on": {args[0]}, "packets": {strconv.Itoa(packets)}, "seconds": {strconv.Itoa(seconds)}}
			if file == "" {
				return fmt.Errorf("%w: --output: want a file, or - to pass it on", errUsage)
			}
			return capturePackets(cmd.Context(), o, cmd.OutOrStdout(), file, q)
		},
	}
	cmd.Flags().StringVarP(&file, "output", "o", "", "the `file`; - is the standard output")
	cmd.Flags().IntVar(&packets, "packets", packets, "end after so many, 100000 at most")
	cmd.Flags().IntVar(&seconds, "seconds", seconds, "end after so long, 300 at most")
	return cmd
}

func capturePackets(ctx context.Context, o *options, out io.Writer, file string, q url.Values) error {
	client := netctl.Client{Run: o.source.Run}
	if file == stdin {
		_, err := client.Capture(ctx, q, out)
		return netQuestion(err)
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	n, err := client.Capture(ctx, q, f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return errors.Join(netQuestion(err), os.Remove(file))
	}
	if o.json {
		return printJSON(out, struct {
			V     int    `json:"v"`
			File  string `json:"file"`
			Bytes int64  `json:"bytes"`
		}{1, file, n})
	}
	_, err = fmt.Fprintf(out, "%d bytes in %s\n", n, file)
	return err
}

// netQuestion makes wrong usage of what netd can't make sense of, and a refusal of
// what it has no time for.
func netQuestion(err error) error {
	if errors.Is(err, netctl.ErrQuestion) {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	return siteRefusal(err)
}
