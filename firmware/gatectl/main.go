//go:debug multipathtcp=0

// Gatectl shows and asks. It reads what the daemons publish, never waits for one
// of them, and has no knowledge of its own about the box. Exit codes: 0 ok, 1
// degraded (or: refused), 2 failed, 64 wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"clinicgate/firmware/gatectl/collect"
	"clinicgate/firmware/gatectl/initctl"
	"clinicgate/firmware/osrelease"
)

// Exit codes beside those of status.Level.
const (
	exitRefused = 1
	exitFailed  = 2
	exitUsage   = 64
)

// An exit ends the program with a code and without a message: what there was to
// say is on the output already.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// errUsage marks a mistake on the command line.
var errUsage = errors.New("wrong usage")

// errRefused marks what the box would not do.
var errRefused = errors.New("refused")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program with its world as arguments.
func run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errs)
	err := root.ExecuteContext(ctx)
	var code exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, errUsage):
		fmt.Fprintf(errs, "gatectl: %v\n", err)
		return exitUsage
	}
	code = exitFailed
	if errors.Is(err, errRefused) {
		code = exitRefused
	}
	fmt.Fprintf(errs, "gatectl: %v\n", err)
	return int(code)
}

// options are what every command knows.
type options struct {
	source collect.Source
	json   bool
}

func (o *options) look() collect.Look     { return o.source.Look(time.Now()) }
func (o *options) client() initctl.Client { return initctl.Client{Run: o.source.Run} }

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:           "gatectl",
		Short:         "show and ask the clinic's gateway",
		Version:       osrelease.Version(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          usage(cobra.NoArgs),
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	flags := root.PersistentFlags()
	flags.StringVar(&o.source.Run, "run", "/run/clinicgate", "run `directory` of the daemons")
	flags.StringVar(&o.source.Site, "site", "/data/site/site.toml", "site `file` in force")
	flags.BoolVar(&o.json, "json", false, "print one JSON object (docs/gatectl.md)")
	root.AddCommand(statusCommand(o), doctorCommand(o), logCommand(o), siteCommand(o), pairCommand(o), cardCommand(o), consoleCommand(o),
		endCommand(o, "poweroff", "switch the box off"), endCommand(o, "reboot", "start the box afresh"))
	root.AddCommand(queueCommand(o), consultCommand(o), keysCommand(o), recordsCommand(o))
	root.AddCommand(netCommand(o), uplinkCommand(o), tunnelCommand(o))
	root.AddCommand(updateCommand(o), opsCommand(o), supportCommand(o), resetCommand(o))
	root.AddCommand(ehrCommand(o), auditCommand(o), attestCommand(o))
	root.AddCommand(manCommand())
	letAllWatch(root)
	return root
}

// usage marks what a cobra check of arguments refuses.
func usage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		return nil
	}
}
