package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// watchable are the commands that show how things are, by their words.
func watchable() [][]string {
	return [][]string{
		{"doctor"}, {"uplink"}, {"pair"}, {"update"}, {"card", "show"}, {"card", "rooms"},
		{"queue", "held"}, {"queue", "pair"}, {"consult", "list"},
		{"net", "leases"}, {"net", "dns"}, {"net", "time"}, {"site", "history"},
	}
}

// letWatch gives --watch to a command that shows something once. A screen is put
// together first and sent whole, so that a slow line shows no half of one; what can't
// be had now is said in its place, and asked for again.
func letWatch(cmd *cobra.Command, every time.Duration) {
	var watch bool
	cmd.Flags().BoolVar(&watch, "watch", false, "go on showing until interrupted")
	show := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !watch {
			return show(cmd, args)
		}
		out := cmd.OutOrStdout()
		return again(cmd.Context(), every, func() error {
			var frame bytes.Buffer
			if rows(out) > 0 {
				frame.WriteString("\x1b[H\x1b[J")
			}
			cmd.SetOut(&frame)
			err := show(cmd, args)
			cmd.SetOut(out)
			if code := exit(0); err != nil && !errors.As(err, &code) {
				if errors.Is(err, errUsage) {
					return err
				}
				fmt.Fprintf(&frame, "gatectl: %v\n", err)
			}
			_, err = out.Write(frame.Bytes())
			return err
		})
	}
}

// again does f now and then each time, until ctx ends or f fails.
func again(ctx context.Context, every time.Duration, f func() error) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := f(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// letAllWatch finds the commands by their words.
func letAllWatch(root *cobra.Command) {
	for _, words := range watchable() {
		if cmd, left, err := root.Find(words); err == nil && len(left) == 0 && cmd.RunE != nil && cmd.Flags().Lookup("watch") == nil {
			letWatch(cmd, refresh)
		}
	}
}
