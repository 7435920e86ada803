package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
	"clinicgate/firmware/wirefile"
)

// updateView is `gatectl update --json`.
type updateView struct {
	V      int          `json:"v"` // 1
	Update *wire.Update `json:"update"`
	Slots  *wire.Slots  `json:"slots"`
	Slot   string       `json:"slot"` // that runs
	// As in init.json: what the firmware started only, and what the kernel denies.
	SecureBoot string `json:"secure_boot,omitempty"`
	Lockdown   string `json:"lockdown,omitempty"`
}

func updateCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use: "update", Short: "what release runs, is wanted, is on its way", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			u, err := wirefile.Read[wire.Update](o.source.Run, wire.UpdateFile)
			if err != nil {
				return err
			}
			i, err := wirefile.Read[wire.Init](o.source.Run, wire.InitFile)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), updateView{1, u, i.Slots, i.Slot, i.SecureBoot, i.Lockdown})
			}
			showUpdate(cmd.OutOrStdout(), u, i)
			return nil
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "look", Short: "ask the depot now", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return lookForUpdates(cmd.Context(), o.source.Run) },
	})
	return cmd
}

func showUpdate(out io.Writer, u *wire.Update, i *wire.Init) {
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(out, "%-8s %s\n", name, text)
		}
	}
	line("RUNS", fmt.Sprintf("%s, slot %s", u.Release, i.Slot))
	line("BOOT", status.Boot(i))
	line("WANTED", u.Wanted)
	state := u.State
	if u.Of > 0 && u.State == wire.UpdateFetching {
		state += fmt.Sprintf(", %d of %d KB of %s", u.Done>>10, u.Of>>10, u.Why)
	} else if u.Why != "" {
		state += ": " + u.Why
	}
	line("STATE", state)
	if u.Fetched > 0 {
		line("FETCHED", fmt.Sprintf("%d KB", u.Fetched>>10))
	}
	if !u.Asked.IsZero() {
		line("ASKED", u.Asked.Local().Format(time.DateTime))
	}
	if s := i.Slots; s != nil {
		line("KEPT", "slot "+s.Good)
		line("LAST", s.Last)
		line("NEVER", s.NoUpdates)
		for _, r := range s.Refused {
			line("REFUSED", fmt.Sprintf("%s: it %s (%s)", r.Version, r.Why, r.When.Local().Format(time.DateTime)))
		}
	}
}

// lookForUpdates has the update ask the depot at once.
func lookForUpdates(ctx context.Context, run string) error {
	_, err := ask.Peer{Run: run, Name: "update", Limit: 512, Time: 10 * time.Second}.Do(ctx, http.MethodPost, "/look", nil)
	if no := (*ask.Refusal)(nil); errors.As(err, &no) {
		return fmt.Errorf("ask update: %s", no.Text())
	}
	return err
}
