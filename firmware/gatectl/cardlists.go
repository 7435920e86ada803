package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/status"
)

// importCommand brings a list of revoked cards by hand, from a stick or wherever:
// the list is signed, so it doesn't matter who brings it.
func importCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "take a list of revoked cards, CRL or hotlist", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			taken, err := importList(cmd.Context(), o, args[0])
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), struct {
					Taken string `json:"taken"`
				}{taken})
			}
			if taken == "" {
				taken = "it is in force already"
			}
			fmt.Fprintln(cmd.OutOrStdout(), status.Plain(taken))
			return nil
		},
	}
}

// importList hands the file to cardauth and returns what it took it for.
func importList(ctx context.Context, o *options, file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var said struct{ Taken string }
	err = cardauth(o, 30*time.Second).JSON(ctx, http.MethodPost, "/lists", f, &said)
	return said.Taken, itsWords(err)
}
