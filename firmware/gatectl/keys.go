package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// refreshAnswer is how long the third party may take about all domains.
const refreshAnswer = 2 * time.Minute

// keysCommand shows what stored data is sealed with. It exits with 1 when something
// is locked.
func keysCommand(o *options) *cobra.Command {
	keys := &cobra.Command{Use: "keys", Short: "what stored data is sealed with, and until when", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showKeys(cmd.Context(), o, cmd.OutOrStdout(), quickAnswer, http.MethodGet, "/keys")
		}}
	keys.AddCommand(&cobra.Command{Use: "refresh", Short: "ask the third party now", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return showKeys(cmd.Context(), o, cmd.OutOrStdout(), refreshAnswer, http.MethodPost, "/keys/refresh")
		}})
	return keys
}

func showKeys(ctx context.Context, o *options, out io.Writer, wait time.Duration, method, path string) error {
	var got wire.Keys
	if err := askSyncd(ctx, o, wait, method, path, &got); err != nil {
		return err
	}
	if o.json {
		if err := printJSON(out, got); err != nil {
			return err
		}
	} else {
		printKeys(out, got)
	}
	for _, d := range got.Domains {
		if d.Why != "" {
			return exit(exitRefused)
		}
	}
	return nil
}

// printKeys is for people; the fingerprint is what cloud ops enrols the box with.
func printKeys(out io.Writer, k wire.Keys) {
	fmt.Fprintf(out, "kept in       %s\nfingerprint   %s\n", status.Plain(k.By), status.Plain(k.Wrap))
	switch {
	case k.Trustee == "":
		fmt.Fprintln(out, "third party   none: the keys are this box's own")
	case k.Why != "":
		fmt.Fprintf(out, "third party   %s gives none: %s\n", status.Plain(k.Trustee), status.Plain(k.Why))
	default:
		fmt.Fprintf(out, "third party   %s, asked at %s\n", status.Plain(k.Trustee), k.Asked.UTC().Format(time.DateTime))
	}
	for _, d := range k.Domains {
		text := fmt.Sprintf("key %d", d.Use)
		if d.Use == 0 {
			text = "the box's own key"
		} else if d.Own {
			text += " and the box's own"
		}
		if d.May != "write" {
			text += ", to read only"
		}
		if !d.Until.IsZero() {
			text += ", until " + d.Until.UTC().Format(time.DateTime)
		}
		if d.Why != "" {
			text += "; LOCKED: " + status.Plain(d.Why)
		}
		fmt.Fprintf(out, "%-20s  %s\n", status.Plain(d.Name), text)
	}
}
