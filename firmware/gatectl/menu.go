package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/console"
	"clinicgate/firmware/status"
)

// consoleLines is how much of a log the console shows: what fits a terminal's
// memory, and the time of a serial line.
const consoleLines = 60

func consoleCommand(o *options) *cobra.Command {
	var plain bool
	cmd := &cobra.Command{
		Use:   "console",
		Short: "the status and the menu on the serial line",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			kind := os.Getenv("TERM")
			if plain {
				kind = ""
			}
			go tellLamp(cmd.Context(), o)
			look := func() (status.Box, time.Time) { l := o.look(); return l.Box, l.At }
			return console.Serve(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout(), kind, func(w io.Writer) { screen(o, w) }, look, menu(o))
		},
	}
	cmd.Flags().BoolVar(&plain, "plain", false, "no full screen: a numbered menu, a line at a time")
	return cmd
}

// lampEvery is how often the light at the front is told how the clinic is; it
// believes that for lamp.Fresh.
const lampEvery = 5 * time.Second

// tellLamp tells the light, whatever the terminal does. Where there is no init to
// tell, nobody misses it.
func tellLamp(ctx context.Context, o *options) {
	tick := time.NewTicker(lampEvery)
	defer tick.Stop()
	for {
		_ = o.client().Lamp(ctx, status.Lamp(o.look().Box))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// screen leaves lines for the two of the menu and the prompt.
func screen(o *options, out io.Writer) {
	l := o.look()
	fmt.Fprint(out, status.Screen(l.Box, l.At, width, height-3))
}

func menu(o *options) []console.Command {
	return []console.Command{
		{Word: "status", Help: "how the box is, in words", Run: func(_ context.Context, t console.Talk, _ string) error {
			screen(o, t)
			return nil
		}},
		{Word: "doctor", Help: "what is wrong, why, and what to do", Run: func(_ context.Context, t console.Talk, _ string) error {
			_, err := showDoctor(o, t)
			return err
		}},
		own(o, "lines", "which provider is dead, and whose fault it is", "uplink", "test"),
		own(o, "queue", "what is held for a person, and why", "queue", "held"),
		own(o, "pair", "which box serves, since when and why", "pair"),
		{Word: "log", Help: "what the services said lately: log, or log netd", Run: func(ctx context.Context, t console.Talk, arg string) error {
			return showLog(ctx, o, t, arg, consoleLines, false)
		}},
		{Word: "site", Help: "have every program judge the site file", Run: func(ctx context.Context, t console.Talk, _ string) error {
			return plainly(t, func(w io.Writer) error { return checkSite(ctx, o, w, o.source.Site) })
		}},
		own(o, "keep", "keep the site file that is on trial", "site", "confirm"),
		own(o, "update", "which release runs, which is wanted, how far it is", "update"),
		own(o, "support", "pack an encrypted file for cloud ops", "support", "bundle"),
		own(o, "reset", "destroy the box's keys and data; asks for what is lost", "factory-reset"),
		{Word: "reboot", Help: "start the box afresh", Confirm: "The clinic is without this box for about a minute.", Run: func(ctx context.Context, t console.Talk, _ string) error {
			return end(ctx, o, t, "reboot")
		}},
		{Word: "poweroff", Help: "switch the box off", Confirm: "The clinic is without this box until someone switches it on.", Run: func(ctx context.Context, t console.Talk, _ string) error {
			return end(ctx, o, t, "poweroff")
		}},
	}
}

// own is a command of gatectl itself, as it would be typed elsewhere: its questions
// are put on the console. That it is not content is no error here.
func own(o *options, word, help string, args ...string) console.Command {
	return console.Command{Word: word, Help: help, Run: func(ctx context.Context, t console.Talk, _ string) error {
		root := newRoot()
		root.SetArgs(append(args[:len(args):len(args)], "--run", o.source.Run, "--site", o.source.Site))
		root.SetIn(&asking{t: t})
		root.SetOut(t)
		root.SetErr(t)
		err := root.ExecuteContext(ctx)
		var code exit
		if errors.As(err, &code) {
			return nil
		}
		return err
	}}
}

// asking reads what a person answers, a line each time more is wanted.
type asking struct {
	t    console.Talk
	rest []byte
}

func (a *asking) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		line, err := a.t.Ask(">", false)
		if err != nil {
			return 0, io.EOF
		}
		a.rest = append([]byte(line), '\n')
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
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
