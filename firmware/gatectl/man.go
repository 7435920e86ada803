package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"clinicgate/firmware/osrelease"
)

// manCommand writes manual pages; images and packages are built with it.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use: "man FOLDER", Short: "write manual pages", Args: usage(cobra.ExactArgs(1)), Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return err
			}
			return eachCommand(cmd.Root(), func(c *cobra.Command) error {
				name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".8"
				return os.WriteFile(filepath.Join(args[0], name), []byte(manPage(c)), 0o644)
			})
		},
	}
}

// eachCommand calls f with a command and all below it that people are to know.
func eachCommand(c *cobra.Command, f func(*cobra.Command) error) error {
	if c.Hidden || c.Name() == "help" || c.Name() == "completion" {
		return nil
	}
	if err := f(c); err != nil {
		return err
	}
	for _, sub := range c.Commands() {
		if err := eachCommand(sub, f); err != nil {
			return err
		}
	}
	return nil
}

// manPage writes one page in the man macros (groff_man(7)).
func manPage(c *cobra.Command) string {
	var b strings.Builder
	title := strings.ToUpper(strings.ReplaceAll(c.CommandPath(), " ", "-"))
	fmt.Fprintf(&b, ".TH %q 8 \"\" \"clinicgate %s\" \"The clinic's gateway\"\n", title, osrelease.Version())
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(strings.ReplaceAll(c.CommandPath(), " ", "-")), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n%s\n", roff(c.CommandPath()), roff(strings.TrimSpace(strings.TrimPrefix(c.UseLine(), c.CommandPath()))))
	fmt.Fprintf(&b, ".SH DESCRIPTION\n%s.\n", roff(strings.ToUpper(c.Short[:1])+c.Short[1:]))
	if subs := c.Commands(); len(subs) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, s := range subs {
			if !s.Hidden && s.Name() != "help" && s.Name() != "completion" {
				fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(strings.TrimPrefix(s.UseLine(), c.CommandPath()))), roff(s.Short))
			}
		}
	}
	manFlags(&b, "OPTIONS", c.NonInheritedFlags())
	manFlags(&b, "OPTIONS OF ALL COMMANDS", c.InheritedFlags())
	b.WriteString(".SH EXIT STATUS\n.TP\n.B 0\nok; done\n.TP\n.B 1\ndegraded; refused; not confirmed\n.TP\n.B 2\nfailed; it could not be done or asked\n.TP\n.B 64\nwrong usage\n")
	if p := c.Parent(); p != nil {
		fmt.Fprintf(&b, ".SH SEE ALSO\n.BR %s (8)\n", roff(strings.ReplaceAll(p.CommandPath(), " ", "-")))
	}
	return b.String()
}

func manFlags(w io.Writer, title string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(w, ".SH %s\n", title)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		kind, says := pflag.UnquoteUsage(f)
		name := "--" + f.Name
		if f.Shorthand != "" {
			name = "-" + f.Shorthand + ", " + name
		}
		fmt.Fprintf(w, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(name+" "+kind)), roff(says))
	})
}

// roff makes text that is no request and no escape.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}
