package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"clinicgate/firmware/status"
)

// resetView is `gatectl factory-reset --json`.
type resetView struct {
	V           int    `json:"v"`           // 1
	Undelivered int    `json:"undelivered"` // uploads; -1: unknown
	Phrase      string `json:"phrase"`
	Ordered     bool   `json:"ordered"`
}

// maxPhrase bounds what is typed.
const maxPhrase = 128

func resetCommand(o *options) *cobra.Command {
	var phrase string
	cmd := &cobra.Command{
		Use: "factory-reset", Short: "destroy the box's keys and data, undelivered uploads too; a person types what is lost", Args: usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := o.client().Reset(cmd.Context(), "")
			if err != nil {
				return err
			}
			var cost struct {
				Undelivered int    `json:"undelivered"`
				Phrase      string `json:"phrase"`
			}
			if err := json.Unmarshal(answer, &cost); err != nil {
				return fmt.Errorf("ask init: %w", err)
			}
			view := resetView{V: 1, Undelivered: cost.Undelivered, Phrase: cost.Phrase}
			out := cmd.OutOrStdout()
			if phrase == "" && !o.json {
				phrase = askPhrase(cmd.InOrStdin(), out, view)
			}
			if phrase != "" {
				if _, err := o.client().Reset(cmd.Context(), phrase); err != nil {
					return siteRefusal(err)
				}
				view.Ordered = true
			}
			if o.json {
				err = printJSON(out, view)
			} else if view.Ordered {
				_, err = fmt.Fprintln(out, "the box restarts and destroys its keys and data; do not unplug it")
			} else {
				_, err = fmt.Fprintln(out, "not done")
			}
			if err == nil && !view.Ordered {
				return exit(exitRefused)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&phrase, "phrase", "", "the `words` that name what is lost, instead of typing them")
	return cmd
}

// askPhrase has a person type what he has read. Other words are none.
func askPhrase(in io.Reader, out io.Writer, v resetView) string {
	fmt.Fprintln(out, "All keys, records, settings and logs of this box are destroyed. Nobody can bring them back.")
	switch {
	case v.Undelivered > 0:
		fmt.Fprintf(out, "UPLOADS THAT WERE DELIVERED TO NOBODY YET: %d. They would be lost.\n", v.Undelivered)
	case v.Undelivered < 0:
		fmt.Fprintln(out, "WHETHER THERE ARE UPLOADS DELIVERED TO NOBODY IS NOT KNOWN. They would be lost.")
	default:
		fmt.Fprintln(out, "All uploads were delivered.")
	}
	fmt.Fprintf(out, "Type \"%s\" to go on: ", status.Plain(v.Phrase))
	typed, _ := bufio.NewReader(io.LimitReader(in, maxPhrase)).ReadString('\n')
	if strings.TrimSpace(typed) != v.Phrase {
		return ""
	}
	return v.Phrase
}
