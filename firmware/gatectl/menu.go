package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/console"
	"clinicgate/firmware/status"
)

// consoleLines is how much of a log the console shows: what fits a terminal's
// memory, and the time of a serial line.
const consoleLines = 60

func consoleCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "console",
		Short: "the menu on the serial line",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			return console.Run(cmd.InOrStdin(), out, func(w io.Writer) { screen(o, w) }, menu(cmd.Context(), o))
		},
	}
}

// screen leaves lines for the menu and the prompt.
func screen(o *options, out io.Writer) {
	l := o.look()
	fmt.Fprint(out, status.Screen(l.Box, l.At, width, height-2))
}

func menu(ctx context.Context, o *options) []console.Command {
	return []console.Command{
		{Word: "status", Help: "how the box is, on one screen", Run: func(out io.Writer, _ string) error {
			screen(o, out)
			return nil
		}},
		{Word: "doctor", Help: "what is wrong, why, and what to do", Run: func(out io.Writer, _ string) error {
			_, err := showDoctor(o, out)
			return err
		}},
		{Word: "log", Help: "what the services said lately: log, or log netd", Run: func(out io.Writer, arg string) error {
			return showLog(ctx, o, out, arg, consoleLines, false)
		}},
		{Word: "site", Help: "have every program judge the site file", Run: func(out io.Writer, _ string) error {
			return plainly(out, func(w io.Writer) error { return checkSite(ctx, o, w, o.source.Site) })
		}},
		{Word: "reboot", Help: "start the box afresh", Confirm: "The clinic is without this box for about a minute.", Run: func(out io.Writer, _ string) error {
			return end(ctx, o, out, "reboot")
		}},
		{Word: "poweroff", Help: "switch the box off", Confirm: "The clinic is without this box until someone switches it on.", Run: func(out io.Writer, _ string) error {
			return end(ctx, o, out, "poweroff")
		}},
	}
}

// plainly shows what a command says; that it is not content is no error here.
func plainly(out io.Writer, f func(io.Writer) error) error {
	var text bytes.Buffer
	err := f(&text)
	fmt.Fprintln(out, status.Plain(text.String()))
	var code exit
	if errors.As(err, &code) {
		return nil
	}
	return err
}

func end(ctx context.Context, o *options, out io.Writer, how string) error {
	if err := o.client().End(ctx, how); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s begins\n", how)
	return nil
}
