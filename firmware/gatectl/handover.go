package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/pairctl"
	"clinicgate/firmware/status"
)

func handoverCommand(o *options) *cobra.Command {
	var hold bool
	cmd := &cobra.Command{
		Use:   "handover",
		Short: "have the other box take over, with no packet lost",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			h, err := pairctl.Client{Run: o.source.Run}.Handover(cmd.Context(), hold)
			if errors.Is(err, pairctl.ErrRefused) {
				fmt.Fprintln(cmd.ErrOrStderr(), "gatectl:", status.Plain(err.Error()))
				return exit(exitRefused)
			}
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), h)
			}
			until := "until it starts again or `gatectl pair release`"
			if h.Hold {
				until = "until `gatectl pair release`"
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s took over in %d ms; this box stands aside %s\n", h.To, h.MS, until)
			return nil
		},
	}
	cmd.Flags().BoolVar(&hold, "hold", false, "stand aside over restarts too, as for an update")
	return cmd
}

func releaseCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "release",
		Short: "end this box's standing aside",
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := (pairctl.Client{Run: o.source.Run}).Release(cmd.Context()); err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), struct {
					V int `json:"v"`
				}{1})
			}
			fmt.Fprintln(cmd.OutOrStdout(), "this box takes part again")
			return nil
		},
	}
}
