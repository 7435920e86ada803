package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// A cardView is what there is to know about cards without knowing whose they are.
type cardView struct {
	Readers  []wire.Reader `json:"readers"`
	Sessions []liveSession `json:"sessions"`
	Trust    wire.Trust    `json:"trust"`
	KeyBy    string        `json:"key_by"` // what holds the key that signs tokens: "tpm", or "software: REASON"
}

type liveSession struct {
	Role  string    `json:"role"`
	Room  string    `json:"room"`
	Since time.Time `json:"since"`
}

func cardShowCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "readers, sessions by role and room, and how well revoked cards are known", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := wirefile.Read[wire.Card](o.source.Run, wire.CardFile)
			if err != nil {
				return err
			}
			v := viewOf(c)
			if o.json {
				return printJSON(cmd.OutOrStdout(), v)
			}
			showCards(cmd.OutOrStdout(), v, time.Now())
			return nil
		},
	}
}

// viewOf leaves out who the sessions are of.
func viewOf(c *wire.Card) cardView {
	v := cardView{Readers: append([]wire.Reader{}, c.Readers...), Sessions: []liveSession{}, Trust: c.Trust, KeyBy: c.KeyBy}
	for _, s := range c.Sessions {
		v.Sessions = append(v.Sessions, liveSession{s.Role, s.Room, s.Since})
	}
	slices.SortFunc(v.Sessions, func(a, b liveSession) int { return cmp.Or(cmp.Compare(a.Room, b.Room), a.Since.Compare(b.Since)) })
	return v
}

func showCards(out io.Writer, v cardView, now time.Time) {
	if len(v.Readers) == 0 {
		fmt.Fprintln(out, "no card reader is connected")
	}
	for _, r := range v.Readers {
		fmt.Fprintf(out, "reader   %-20s %-10s since %s  %s\n", status.Plain(r.Room), status.Plain(r.State), r.Since.Format(time.TimeOnly), status.Plain(r.Name))
	}
	for _, s := range v.Sessions {
		fmt.Fprintf(out, "session  %-20s %-10s since %s\n", status.Plain(s.Room), status.Plain(s.Role), s.Since.Format(time.TimeOnly))
	}
	t := v.Trust
	fmt.Fprintf(out, "trust    %s, %d cards revoked, hotlist %d, clock %s", status.Plain(cmp.Or(t.Grade, "unknown")), t.Distrust, t.Hotlist, status.Plain(cmp.Or(t.Clock, "unknown")))
	if t.Until != nil {
		word := "good for"
		if t.Until.Before(now) {
			word = "out of date by"
		}
		fmt.Fprintf(out, ", oldest list %s %s", word, t.Until.Sub(now).Abs().Round(time.Minute))
	}
	fmt.Fprintln(out)
	fmt.Fprintf(out, "tokens   signed by %s\n", status.Plain(cmp.Or(v.KeyBy, "no key yet")))
}
