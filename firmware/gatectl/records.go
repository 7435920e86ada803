package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// recordsCommand shows changes of records that the EHR has not taken, and nobody's data.
func recordsCommand(o *options) *cobra.Command {
	records := &cobra.Command{Use: "records", Short: "changes of records: what waits for the EHR, what it refused", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	list := func(use, short, path, none string) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
			return listEdits(cmd.Context(), o, cmd.OutOrStdout(), time.Now(), path, none)
		}}
	}
	records.AddCommand(
		list("pending", "changes on their way to the EHR", "/edits", "nothing waits for the EHR"),
		list("conflicts", "changes the EHR did not take, each with the Task that a doctor must close", "/edits/clashes", "nothing clashes"),
	)
	return records
}

func listEdits(ctx context.Context, o *options, out io.Writer, now time.Time, path, none string) error {
	var got wire.EditList
	if err := askSyncd(ctx, o, quickAnswer, http.MethodGet, path, &got); err != nil {
		return err
	}
	if o.json {
		return printJSON(out, got)
	}
	if len(got.Items) == 0 {
		fmt.Fprintln(out, none)
	}
	for _, e := range got.Items {
		how := fmt.Sprintf("sent %d times", e.Tries)
		if e.Task != "" {
			how = fmt.Sprintf("EHR said %d, see %s", e.Status, e.Task)
		}
		fmt.Fprintf(out, "%.8s  %-7.7s for %-8s by %.32s  %.40s  %s\n", status.Plain(e.ID), status.Plain(e.State), now.Sub(e.When).Round(time.Minute),
			status.Plain(e.By), status.Plain(strings.Join(e.Types, " ")), status.Plain(how))
	}
	return nil
}
