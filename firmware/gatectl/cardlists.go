package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
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
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(o.source.Run, "cardauth.sock"))
	}}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://cardauth/lists", f)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask cardauth: %w", err)
	}
	defer resp.Body.Close()
	var said struct{ Taken, Error string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&said); err != nil {
		return "", fmt.Errorf("ask cardauth: %w", err)
	}
	if said.Error != "" {
		return "", errors.New(status.Plain(said.Error))
	}
	return said.Taken, nil
}
