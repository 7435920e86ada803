package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// auditCommand shows how far the trail of accesses is delivered. It exits with 1 when
// something keeps it.
func auditCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "audit", Short: "how far the trail of accesses is delivered", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var got wire.AuditTrail
			if err := askSyncd(cmd.Context(), o, quickAnswer, http.MethodGet, "/audit", &got); err != nil {
				return err
			}
			if o.json {
				if err := printJSON(cmd.OutOrStdout(), got); err != nil {
					return err
				}
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), auditLine(got.Audit))
			}
			if got.Audit != nil && got.Audit.Reason != "" {
				return exit(exitRefused)
			}
			return nil
		},
	}
}

// auditLine says it in one line.
func auditLine(a *wire.Audit) string {
	if a == nil {
		return "the trail of accesses stays on this box (sync.audit in the site file)"
	}
	text := fmt.Sprintf("%d of %d records are at %s", a.Delivered, a.Records, status.Plain(a.To))
	if !a.Oldest.IsZero() {
		text += "; the oldest access that waits is of " + a.Oldest.UTC().Format(time.DateTime)
	}
	if a.Reason != "" {
		text += fmt.Sprintf("; since %s: %s", a.Since.UTC().Format(time.DateTime), status.Plain(a.Reason))
	}
	return text
}
