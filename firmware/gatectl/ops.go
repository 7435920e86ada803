package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/depot"
	"clinicgate/firmware/depot/returns"
	"clinicgate/firmware/release"
	"clinicgate/firmware/rollout"
)

// opsOptions are what cloud ops' commands know beside the rest.
type opsOptions struct {
	*options
	dir, keys, board string
}

func (o *opsOptions) depot() depot.Depot { return depot.Depot{Dir: o.dir, Now: time.Now()} }

// opsCommand is cloud ops' side: it runs on a workstation, not on a box.
func opsCommand(o *options) *cobra.Command {
	ops := &opsOptions{options: o}
	cmd := &cobra.Command{Use: "ops", Short: "sign releases, steer their rollout, read support bundles (on cloud ops' workstation)", Args: usage(cobra.NoArgs)}
	flags := cmd.PersistentFlags()
	flags.StringVar(&ops.dir, "depot", ".", "`folder` that boxes read by the web")
	flags.StringVar(&ops.keys, "keys", "keys", "`folder` of the private keys at hand, ROLE.pem or ROLE-N.pem (PKCS #8)")
	flags.StringVar(&ops.board, "board", "qemu-x86_64", "`board` the release is for")
	cmd.AddCommand(ops.initCommand(), ops.signCommand(), ops.rolloutCommand(), ops.haltCommand(), ops.renewCommand(), ops.statusCommand(), ops.serveCommand(), ops.openCommand(), ops.attestCommand())
	return cmd
}

func (o *opsOptions) initCommand() *cobra.Command {
	var roots, targets int
	cmd := &cobra.Command{
		Use: "init", Short: "begin a depot with the keys at hand", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := depot.LoadKeys(o.keys)
			if err != nil {
				return err
			}
			if err := o.depot().Create(keys, map[string]int{"root": roots, "targets": targets}); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "begun; build images with -root %s\n", filepath.Join(o.dir, "metadata", "1.root.json"))
			return nil
		},
	}
	cmd.Flags().IntVar(&roots, "root-threshold", 1, "how many root keys must sign")
	cmd.Flags().IntVar(&targets, "targets-threshold", 1, "how many targets keys must sign")
	return cmd
}

func (o *opsOptions) signCommand() *cobra.Command {
	return &cobra.Command{
		Use: "sign VERSION", Short: "sign a release that `image stage` has put into the depot", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := release.Name("version", args[0]); err != nil {
				return err
			}
			text, err := os.ReadFile(filepath.Join(o.dir, release.TargetsFolder, o.board, args[0], "unsigned.json"))
			if err != nil {
				return err
			}
			var r release.Release
			if err := json.Unmarshal(text, &r); err != nil {
				return fmt.Errorf("unsigned.json: %w", err)
			}
			keys, err := depot.LoadKeys(o.keys)
			if err != nil {
				return err
			}
			if err := o.depot().Publish(r, keys); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "release %s for %s is signed; no box takes it before `gatectl ops rollout`\n", r.Version, r.Board)
			return nil
		},
	}
}

func (o *opsOptions) rolloutCommand() *cobra.Command {
	percent := 100
	cmd := &cobra.Command{
		Use: "rollout RING VERSION", Short: "have a ring's boxes run a release", Args: usage(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.steer(cmd, args[0], release.Ring{Version: args[1], Percent: percent})
		},
	}
	cmd.Flags().IntVar(&percent, "percent", percent, "`share` of the ring's boxes that take it now")
	return cmd
}

func (o *opsOptions) haltCommand() *cobra.Command {
	return &cobra.Command{
		Use: "halt RING WHY...", Short: "have no further box of a ring take its release", Args: usage(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			ring, err := o.depot().Ring(o.board, args[0])
			if err != nil {
				return err
			}
			ring.Halted = strings.Join(args[1:], " ")
			return o.steer(cmd, args[0], ring)
		},
	}
}

func (o *opsOptions) steer(cmd *cobra.Command, name string, ring release.Ring) error {
	keys, err := depot.LoadKeys(o.keys)
	if err != nil {
		return err
	}
	if err := o.depot().Steer(o.board, name, ring, keys); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "ring %s: %s\n", name, describe(ring))
	return nil
}

func describe(r release.Ring) string {
	if r.Halted != "" {
		return fmt.Sprintf("release %s, halted: %s", r.Version, r.Halted)
	}
	return fmt.Sprintf("release %s for %d %% of the boxes", r.Version, r.Percent)
}

func (o *opsOptions) renewCommand() *cobra.Command {
	return &cobra.Command{
		Use: "renew", Short: "sign the timestamp anew; boxes believe an older one for a week", Args: usage(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			keys, err := depot.LoadKeys(o.keys)
			if err != nil {
				return err
			}
			return o.depot().Renew(keys)
		},
	}
}

// opsStatus is `gatectl ops status --json`.
type opsStatus struct {
	V     int                     `json:"v"`     // 1
	Rings map[string]release.Ring `json:"rings"` // by BOARD/RING
	// Boxes count what the boxes of each ring report of its release.
	Boxes map[string]rollout.Count `json:"boxes"`
}

func (o *opsOptions) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "show what each ring is told to run", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			names, err := o.depot().Rings()
			if err != nil {
				return err
			}
			reports, err := returns.Load(o.dir)
			if err != nil {
				return err
			}
			s := opsStatus{V: 1, Rings: map[string]release.Ring{}, Boxes: map[string]rollout.Count{}}
			for _, n := range names {
				parts := strings.Split(strings.TrimSuffix(n, ".json"), "/") // rings/BOARD/RING
				if len(parts) != 3 {
					continue
				}
				ring, err := o.depot().Ring(parts[1], parts[2])
				if err != nil {
					return err
				}
				name := parts[1] + "/" + parts[2]
				s.Rings[name], s.Boxes[name] = ring, rollout.Tally(reports, parts[1], parts[2], ring.Version)
			}
			if o.json {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, n := range slices.Sorted(maps.Keys(s.Rings)) {
				fmt.Fprintf(w, "%s\t%s\t%s\n", n, describe(s.Rings[n]), counted(s.Boxes[n]))
			}
			return w.Flush()
		},
	}
}
