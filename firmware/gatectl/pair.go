package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// pairObject is what `gatectl pair --json` prints.
type pairObject struct {
	V        int            `json:"v"` // 1
	At       time.Time      `json:"at"`
	Presence string         `json:"presence"`
	Says     string         `json:"says"` // who is master, since when and why
	Pair     *wire.Failover `json:"pair"` // as failoverd published it; null: it has not
}

// showPair prints who is master and why; exit code 2 without failoverd.
func showPair(o *options, out io.Writer) error {
	l := o.look()
	err := printPair(o, l, out)
	if err == nil && l.Box.Pair.Presence != status.Live {
		return exit(exitFailed)
	}
	return err
}

func printPair(o *options, l collect.Look, out io.Writer) error {
	if o.json {
		return printJSON(out, pairObject{1, l.At.UTC().Truncate(time.Millisecond), string(l.Box.Pair.Presence), status.Master(l.Box, l.At), l.Box.Pair.V})
	}
	_, err := io.WriteString(out, status.Pair(l.Box, l.At, width))
	return err
}

// pairCommand is what concerns the two boxes of a pair: alone it shows.
func pairCommand(o *options) *cobra.Command {
	pair := &cobra.Command{
		Use: "pair", Short: "the two boxes: who is master, since when and why", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return showPair(o, cmd.OutOrStdout()) },
	}
	pair.AddCommand(handoverCommand(o), releaseCommand(o))
	return pair
}
