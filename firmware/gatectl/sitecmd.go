package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/gatectl/sitecheck"
	"clinicgate/firmware/probation"
	"clinicgate/firmware/site"
	"clinicgate/firmware/status"
)

// stdin is the name of a file that is typed or pasted.
const stdin = "-"

// siteTrial is `gatectl site apply|confirm|return --json`.
type siteTrial struct {
	V       int             `json:"v"` // 1
	Trial   probation.Trial `json:"trial"`
	Changes []site.Change   `json:"changes,omitempty"`
}

func siteDiffCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "diff [FILE]", Short: "what FILE says otherwise than the site file in force; without FILE, what that one says otherwise than the one before",
		Args: usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var old, next []byte
			var err error
			if len(args) == 1 {
				if next, err = readSite(args[0], cmd.InOrStdin()); err == nil {
					old, err = readSite(o.source.Site, nil)
				}
			} else if old, err = o.client().Site(cmd.Context(), "before", nil, nil); err == nil {
				next, err = readSite(o.source.Site, nil)
			}
			if err != nil {
				return err
			}
			changes, err := siteChanges(old, next)
			if err != nil {
				return err
			}
			if o.json {
				err = printJSON(cmd.OutOrStdout(), struct {
					V       int           `json:"v"`
					Changes []site.Change `json:"changes"`
				}{1, changes})
			} else {
				err = showChanges(cmd.OutOrStdout(), changes)
			}
			if err == nil && len(changes) > 0 {
				return exit(exitRefused)
			}
			return err
		},
	}
}

func siteApplyCommand(o *options) *cobra.Command {
	minutes := 5
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "put a new site file in force, on trial until it is confirmed (- reads it from the terminal)", Args: usage(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if minutes < 1 || minutes > int(probation.MaxTime/time.Minute) {
				return fmt.Errorf("%w: --minutes: got %d, want 1 to %d", errUsage, minutes, int(probation.MaxTime/time.Minute))
			}
			text, err := readSite(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			return applySite(cmd.Context(), o, cmd.OutOrStdout(), siteName(args[0]), text, minutes)
		},
	}
	cmd.Flags().IntVar(&minutes, "minutes", minutes, "`time` to confirm it in")
	return cmd
}

// applySite has the daemons judge the very bytes that init is given.
func applySite(ctx context.Context, o *options, out io.Writer, name string, text []byte, minutes int) error {
	dir, err := os.MkdirTemp("", "gatectl-site-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return err
	}
	var own []string
	if _, why := collect.Identity(file); why != "" {
		own = strings.Split(why, "\n")
	}
	if v := sitecheck.Check(ctx, file, own); !v.Accepted() {
		for _, c := range v.Complaints {
			fmt.Fprintln(out, status.Plain(c))
		}
		return exit(exitRefused)
	}
	var changes []site.Change
	if old, err := readSite(o.source.Site, nil); err == nil {
		changes, _ = siteChanges(old, text) // one that can't be read is being replaced
	}
	answer, err := o.client().Site(ctx, "apply", url.Values{"minutes": {strconv.Itoa(minutes)}}, text)
	t, err := trialOf(answer, err)
	if err != nil {
		return siteRefusal(err)
	}
	if o.json {
		return printJSON(out, siteTrial{1, t, changes})
	}
	if err := showChanges(out, changes); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nin force on trial until %s. See that the clinic works, then `gatectl site confirm`.\nWithout that, or at a restart, the old file returns by itself.\n", t.Until.Local().Format("15:04:05"))
	return err
}

func siteConfirmCommand(o *options) *cobra.Command {
	return siteEndCommand(o, "confirm", "keep the site file that is on trial", "the new site file stays in force\n")
}

func siteReturnCommand(o *options) *cobra.Command {
	return siteEndCommand(o, "return", "end the trial of a site file: the old one returns", "the old site file is back in force\n")
}

// siteEndCommand ends a trial one way or the other.
func siteEndCommand(o *options, step, short, done string) *cobra.Command {
	return &cobra.Command{
		Use: step, Short: short, Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			t, err := trialOf(o.client().Site(cmd.Context(), step, nil, nil))
			if err != nil {
				return siteRefusal(err)
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), siteTrial{V: 1, Trial: t})
			}
			_, err = io.WriteString(cmd.OutOrStdout(), done)
			return err
		},
	}
}

func siteHistoryCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use: "history", Short: "who changed the site file here, and what became of it", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := o.client().Site(cmd.Context(), "", nil, nil)
			if err != nil {
				return err
			}
			state := struct {
				V       int               `json:"v"`
				Trial   *probation.Trial  `json:"trial"`
				History []probation.Event `json:"history"`
			}{V: 1}
			if err := json.Unmarshal(answer, &state); err != nil {
				return fmt.Errorf("ask init: %w", err)
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), state)
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "AT\tDID\tBY\tFILE\tWHY")
			for _, e := range state.History {
				fmt.Fprintf(w, "%s\t%s\t%s\t%.12s\t%s\n", e.At.Local().Format(time.DateTime), e.Did, e.By, e.SHA256, or(status.Plain(e.Why), "-"))
			}
			if err := w.Flush(); err != nil || state.Trial == nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "\n%.12s is on trial until %s\n", state.Trial.SHA256, state.Trial.Until.Local().Format("15:04:05"))
			return err
		},
	}
}

// trialOf reads init's answer.
func trialOf(answer []byte, err error) (t probation.Trial, _ error) {
	if err != nil {
		return t, err
	}
	if err := json.Unmarshal(answer, &t); err != nil {
		return t, fmt.Errorf("ask init: %w", err)
	}
	return t, nil
}

// siteRefusal tells a refusal, which is exit code 1, from trouble.
func siteRefusal(err error) error {
	if no := (*ask.Refusal)(nil); errors.As(err, &no) && no.Code == 409 {
		return fmt.Errorf("%w: %s", errRefused, no.Text())
	}
	return err
}

// readSite reads a site file of bounded size, from in when its name says so.
func readSite(file string, in io.Reader) ([]byte, error) {
	if file != stdin {
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, site.MaxSize+1))
	if err == nil && len(text) > site.MaxSize {
		err = fmt.Errorf("more than %d bytes", site.MaxSize)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", siteName(file), err)
	}
	return text, nil
}

// siteName is what a file is called in complaints.
func siteName(file string) string {
	if file == stdin {
		return "site.toml"
	}
	return filepath.Base(file)
}

func siteChanges(old, next []byte) ([]site.Change, error) {
	was, err := site.Parse("old site file", old)
	if err != nil {
		return nil, err
	}
	is, err := site.Parse("new site file", next)
	if err != nil {
		return nil, err
	}
	return is.Diff(was)
}

// showChanges prints a line for what goes and one for what comes.
func showChanges(out io.Writer, changes []site.Change) error {
	if len(changes) == 0 {
		_, err := fmt.Fprintln(out, "they say the same")
		return err
	}
	for _, c := range changes {
		if c.Was != "" {
			fmt.Fprintf(out, "- %s = %s\n", status.Plain(c.Key), status.Plain(c.Was))
		}
		if c.Is != "" {
			fmt.Fprintf(out, "+ %s = %s\n", status.Plain(c.Key), status.Plain(c.Is))
		}
	}
	return nil
}
