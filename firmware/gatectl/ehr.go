package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// ehrCommand shows how the gateway itself logs in at the EHR, and the key that the
// EHR registers. It exits with 1 when the EHR does not let it in.
func ehrCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "ehr", Short: "how the gateway logs in at the EHR, and the key to register there", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var got wire.EHRLogin
			if err := askSyncd(cmd.Context(), o, quickAnswer, http.MethodGet, "/ehr/login", &got); err != nil {
				return err
			}
			var err error
			if o.json {
				err = printJSON(cmd.OutOrStdout(), got)
			} else {
				err = showEHR(cmd.OutOrStdout(), got)
			}
			if err != nil {
				return err
			}
			if got.ClientID != "" && got.Until.IsZero() && got.Reason != "" {
				return exit(exitRefused)
			}
			return nil
		},
	}
}

func showEHR(out io.Writer, got wire.EHRLogin) error {
	fmt.Fprintf(out, "EHR          %s\n", status.Plain(got.EHR))
	if got.KeyExchange != "" {
		fmt.Fprintf(out, "key exchange %s\n", status.Plain(got.KeyExchange))
	}
	if got.ClientID == "" {
		fmt.Fprintln(out, "login        none (sync.ehr.oauth in the site file)")
		return nil
	}
	fmt.Fprintf(out, "client_id    %s\n", status.Plain(got.ClientID))
	switch {
	case !got.Until.IsZero():
		fmt.Fprintf(out, "token        until %s\n", got.Until.Format(time.DateTime))
	default:
		fmt.Fprintln(out, "token        none")
	}
	if got.Reason != "" {
		fmt.Fprintf(out, "last attempt %s\n", status.Plain(got.Reason))
	}
	text, err := json.MarshalIndent(got.JWKS, "", "  ")
	if err != nil {
		return fmt.Errorf("show the key: %w", err)
	}
	fmt.Fprintf(out, "The key to register, as a JSON Web Key set:\n%s\n", text)
	return nil
}
