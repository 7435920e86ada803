package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// How long syncd may take: to list, and to read the whole queue.
const (
	quickAnswer  = 10 * time.Second
	verifyAnswer = time.Hour
)

// queueCommand is what a technician does about uploads.
func queueCommand(o *options) *cobra.Command {
	queue := &cobra.Command{Use: "queue", Short: "uploads: what is held, and whether all are whole", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	queue.AddCommand(
		&cobra.Command{Use: "held", Short: "uploads set aside for a person, and why", Args: usage(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error { return showHeld(cmd.Context(), o, cmd.OutOrStdout()) }},
		releaseUpload(o),
		queuePair(o),
		&cobra.Command{Use: "verify", Short: "read every upload and say what is not as it was accepted", Args: usage(cobra.NoArgs),
			RunE: func(cmd *cobra.Command, _ []string) error {
				return verifyQueue(cmd.Context(), o, cmd.OutOrStdout())
			}},
	)
	return queue
}

func showHeld(ctx context.Context, o *options, out io.Writer) error {
	var got wire.HeldUploads
	if err := askSyncd(ctx, o, quickAnswer, http.MethodGet, "/queue/held", &got); err != nil {
		return err
	}
	if o.json {
		return printJSON(out, got)
	}
	if len(got.Items) == 0 {
		fmt.Fprintln(out, "nothing is held")
	}
	for _, it := range got.Items {
		fmt.Fprintf(out, "%.8s  %s  %-8.8s %-16.16s %s\n", status.Plain(it.ID), it.Accepted.Format("01-02 15:04"), status.Plain(it.Kind), status.Plain(it.Origin), status.Plain(it.Why))
	}
	return nil
}

func releaseUpload(o *options) *cobra.Command {
	var by string
	cmd := &cobra.Command{
		Use: "release ITEM", Short: "let a held upload go on, as it is; your name stays with it", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if by == "" {
				by = login()
			}
			var got wire.ReleasedUpload
			path := "/queue/" + url.PathEscape(args[0]) + "/release?by=" + url.QueryEscape(by)
			if err := askSyncd(cmd.Context(), o, quickAnswer, http.MethodPost, path, &got); err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), got)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%.8s goes on, released by %s\n", status.Plain(got.ID), status.Plain(by))
			return nil
		},
	}
	cmd.Flags().StringVar(&by, "by", "", "`name` of the person who has looked (default: your login)")
	return cmd
}

// askSyncd makes one request on syncd's control socket; its no comes back as it
// words it.
func askSyncd(ctx context.Context, o *options, limit time.Duration, method, path string, into any) error {
	return itsWords(ask.Peer{Run: o.source.Run, Name: "syncd", Limit: 4 << 20, Time: limit}.JSON(ctx, method, path, nil, into))
}

// login is who works at this console.
func login() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

// verifyQueue exits with 1 when something is not as it must be.
func verifyQueue(ctx context.Context, o *options, out io.Writer) error {
	var got wire.VerifiedQueue
	if err := askSyncd(ctx, o, verifyAnswer, http.MethodPost, "/queue/verify", &got); err != nil {
		return err
	}
	if o.json {
		if err := printJSON(out, got); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "%s\nread: %d waiting, %d held, %d delivered, %d bytes in %d segments\n", status.Plain(got.Invariant),
			got.Items["waiting"]+got.Items["delivering"], got.Items["held"], got.Items["delivered"], got.Bytes, got.Segments)
		for _, p := range got.Problems {
			fmt.Fprintln(out, "WRONG:", status.Plain(p))
		}
		if len(got.Problems) == 0 {
			fmt.Fprintln(out, "so it is")
		}
	}
	if len(got.Problems) > 0 {
		return exit(exitRefused)
	}
	return nil
}
