package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/gatectl/sitecheck"
	"clinicgate/firmware/status"
)

func logCommand(o *options) *cobra.Command {
	var lines int
	var follow bool
	cmd := &cobra.Command{
		Use:   "log [service]",
		Short: "what the services said lately",
		Args:  usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return showLog(cmd.Context(), o, cmd.OutOrStdout(), strings.Join(args, ""), lines, follow)
		},
	}
	cmd.Flags().IntVarP(&lines, "lines", "n", 100, "how many lines from the end")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with what comes")
	return cmd
}

// showLog prints readable lines, or with --json the lines as they are.
func showLog(ctx context.Context, o *options, out io.Writer, service string, n int, follow bool) error {
	return o.client().Log(ctx, service, n, follow, func(line string) {
		if !o.json {
			line = status.LogLine(line)
		}
		fmt.Fprintln(out, line)
	})
}

func siteCommand(o *options) *cobra.Command {
	site := &cobra.Command{Use: "site", Short: "the site file", Args: usage(cobra.NoArgs), RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	site.AddCommand(&cobra.Command{
		Use:   "check [FILE]",
		Short: "have every daemon judge a site file (default: the one in force)",
		Args:  usage(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := o.source.Site
			if len(args) == 1 {
				file = args[0]
			}
			return checkSite(cmd.Context(), o, cmd.OutOrStdout(), file)
		},
	})
	site.AddCommand(siteDiffCommand(o), siteApplyCommand(o), siteConfirmCommand(o), siteReturnCommand(o), siteHistoryCommand(o))
	return site
}

// checkSite exits with 0 when all accept the file, 1 when one refuses it, 2 when
// one could not be asked.
func checkSite(ctx context.Context, o *options, out io.Writer, file string) error {
	var own []string
	if _, why := collect.Identity(file); why != "" {
		own = strings.Split(why, "\n")
	}
	v := sitecheck.Check(ctx, file, own)
	switch {
	case o.json:
		if err := printJSON(out, v); err != nil {
			return err
		}
	case v.Accepted():
		fmt.Fprintf(out, "%s: accepted by all\n", filepath.Base(file))
	default:
		for _, c := range v.Complaints {
			fmt.Fprintln(out, status.Plain(c))
		}
	}
	switch {
	case !v.Complete():
		return exit(exitFailed)
	case !v.Accepted():
		return exit(exitRefused)
	}
	return nil
}

func endCommand(o *options, how, short string) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   how,
		Short: short,
		Args:  usage(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !yes {
				fmt.Fprintf(cmd.OutOrStdout(), "The clinic is without this box until it is up again. Type yes to %s: ", how)
				answer, _ := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 16)).ReadString('\n')
				if strings.TrimSpace(answer) != "yes" {
					fmt.Fprintln(cmd.OutOrStdout(), "not done")
					return exit(exitRefused)
				}
			}
			return o.client().End(cmd.Context(), how)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	return cmd
}
