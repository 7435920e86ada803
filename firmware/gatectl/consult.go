package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// consultCommand shows teleconsultations: where they stand, and nobody's data.
func consultCommand(o *options) *cobra.Command {
	consult := &cobra.Command{Use: "consult", Short: "teleconsultations: where each stands", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	consult.AddCommand(
		&cobra.Command{Use: "list", Short: "all cases: number, state, since when, replies", Args: usage(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return listConsults(cmd.Context(), o, cmd.OutOrStdout(), time.Now())
			}},
		&cobra.Command{Use: "show CASE", Short: "one case: what went, what came back", Args: usage(cobra.ExactArgs(1)),
			RunE: func(cmd *cobra.Command, args []string) error {
				return showConsult(cmd.Context(), o, cmd.OutOrStdout(), args[0])
			}},
	)
	return consult
}

func listConsults(ctx context.Context, o *options, out io.Writer, now time.Time) error {
	var got wire.Consults
	if err := askSyncd(ctx, o, quickAnswer, http.MethodGet, "/consults", &got); err != nil {
		return err
	}
	if o.json {
		return printJSON(out, got)
	}
	if len(got.Items) == 0 {
		fmt.Fprintln(out, "no case was sent from here")
	}
	for _, c := range got.Items {
		urgent := ""
		if c.Urgent {
			urgent = "  urgent"
		}
		fmt.Fprintf(out, "%.12s  %-8.8s for %-8s %d replies%s\n", status.Plain(c.Case), status.Plain(c.State), now.Sub(c.Changed).Round(time.Minute), c.Replies, urgent)
	}
	return nil
}

func showConsult(ctx context.Context, o *options, out io.Writer, id string) error {
	var got wire.ConsultDetail
	if err := askSyncd(ctx, o, quickAnswer, http.MethodGet, "/consults/"+url.PathEscape(id), &got); err != nil {
		return err
	}
	if o.json {
		return printJSON(out, got)
	}
	const clock = "2006-01-02 15:04"
	fmt.Fprintf(out, "case %s: %s since %s, sent in at %s\n", status.Plain(got.Case), status.Plain(got.State), got.Changed.Format(clock), got.Began.Format(clock))
	for _, ref := range got.Sent {
		fmt.Fprintln(out, "  sent", status.Plain(ref))
	}
	for _, r := range got.Back {
		fmt.Fprintf(out, "  back %s at %s\n", status.Plain(r.Resource), r.At.Format(clock))
	}
	return nil
}
