package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// queuePair shows how the pair's other box keeps up with this one's uploads. It
// exits with 1 when that doesn't have them all.
func queuePair(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "pair", Short: "whether the pair's other box has every upload too", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var got wire.QueuePair
			if err := askSyncd(cmd.Context(), o, quickAnswer, http.MethodGet, "/queue/pair", &got); err != nil {
				return err
			}
			if o.json {
				if err := printJSON(cmd.OutOrStdout(), got); err != nil {
					return err
				}
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), pairLine(got.Mirror))
			}
			if m := got.Mirror; m != nil && (!m.Alive || m.Behind > 0) {
				return exit(exitRefused)
			}
			return nil
		},
	}
}

// pairLine says it in one line.
func pairLine(m *wire.Mirror) string {
	if m == nil {
		return "there is no other box: uploads are on this one's disk"
	}
	text := fmt.Sprintf("the other box, %s, has every upload; %d ms behind", status.Plain(m.Peer), m.LagMS)
	switch {
	case !m.Alive:
		text = fmt.Sprintf("the other box, %s, takes no uploads since %s: %s; %d are on this disk alone",
			status.Plain(m.Peer), m.Since.UTC().Format(time.DateTime), status.Plain(m.Reason), m.Behind)
	case m.Behind > 0:
		text = fmt.Sprintf("the other box, %s, lacks %d uploads, the oldest since %s", status.Plain(m.Peer), m.Behind, m.Oldest.UTC().Format(time.DateTime))
	}
	if m.Delivers {
		return text + "; this box delivers"
	}
	return text + "; the other box delivers"
}
