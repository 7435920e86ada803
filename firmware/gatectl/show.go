package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/status"
)

// A screen of the serial console; a line is left for the prompt.
const (
	width  = 80
	height = 24
)

// refresh is how often --watch looks again.
const refresh = 2 * time.Second

func statusCommand(o *options) *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "how the box is, on one screen",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			draw := func(out io.Writer) (collect.Look, error) { return showStatus(o, out) }
			if watch {
				return repeat(cmd.Context(), cmd.OutOrStdout(), refresh, draw)
			}
			return once(cmd.OutOrStdout(), draw)
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "go on showing until interrupted")
	return cmd
}

func doctorCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "what is wrong, why, and what to do, in the order to do it",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return once(cmd.OutOrStdout(), func(out io.Writer) (collect.Look, error) { return showDoctor(o, out) })
		},
	}
}

// once draws and turns the verdict into the exit code.
func once(out io.Writer, draw func(io.Writer) (collect.Look, error)) error {
	l, err := draw(out)
	if err != nil {
		return err
	}
	if level := status.Judge(l.Box).Level; level != status.OK {
		return exit(level)
	}
	return nil
}

// repeat draws until ctx ends: over the old screen on a terminal, one after the
// other elsewhere.
func repeat(ctx context.Context, out io.Writer, every time.Duration, draw func(io.Writer) (collect.Look, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if rows(out) > 0 {
			fmt.Fprint(out, "\x1b[H\x1b[J")
		}
		if _, err := draw(out); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func showStatus(o *options, out io.Writer) (collect.Look, error) {
	l := o.look()
	if o.json {
		return l, printJSON(out, l.Object())
	}
	_, err := io.WriteString(out, status.Screen(l.Box, l.At, width, rows(out)))
	return l, err
}

func showDoctor(o *options, out io.Writer) (collect.Look, error) {
	l := o.look()
	if o.json {
		return l, printJSON(out, struct {
			V       int            `json:"v"`
			At      time.Time      `json:"at"`
			Verdict string         `json:"verdict"`
			Checks  []status.Check `json:"checks"`
		}{1, l.At.UTC(), status.Judge(l.Box).Level.String(), status.Checks(l.Box, l.At)})
	}
	_, err := io.WriteString(out, status.Doctor(l.Box, l.At, width))
	return l, err
}

// rows is the height of a terminal less the prompt's line, or 0 when out is none.
// A serial line does not know its size: then it is a screen of 24.
func rows(out io.Writer) int {
	f, ok := out.(*os.File)
	if !ok {
		return 0
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	switch {
	case err != nil:
		return 0
	case size.Row == 0:
		return height - 1
	}
	return max(int(size.Row)-1, 10)
}

func printJSON(out io.Writer, v any) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
