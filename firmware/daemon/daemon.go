// Package daemon is what every program of the box does alike: flags, the site
// file and its changes, logging, faults, the wire file, the control socket,
// readiness and an orderly end. A main names itself, its configuration parser and
// its work; nothing here knows what the work is.
package daemon

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"reflect"
	"sync"
	"syscall"
	"time"

	"clinicgate/firmware/osrelease"
	"clinicgate/firmware/site"
	"clinicgate/firmware/watch"
	"clinicgate/firmware/wire"
)

// Env is where a daemon lives: its folders, its log and what it publishes.
type Env struct {
	Release string // software release of the system it runs on
	Name    string // program name = service name = log prefix
	Site    string // path of site.toml
	Secrets string // folder of this daemon's keys
	State   string // folder of this daemon's own durable state
	Run     string // run directory: wire files and control sockets
	Log     *slog.Logger
	Faults  *Faults

	mu   sync.Mutex
	last []byte // what Publish wrote last, without its time
}

// exit codes of every program.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// Main runs one daemon and returns its exit status. parse reads the daemon's
// section of the site file; run does the work until its context ends and returns
// nil then. With an unusable site file the daemon stays up, publishes the fault
// and waits for a better one. When a usable new file gives another configuration
// than the one in force, run's context ends and Main returns 0, for the supervisor
// to start the daemon afresh: applying one is always the same path as starting.
func Main[C any](name string, parse func(*site.File) (C, error), run func(context.Context, *Env, C) error) int {
	env, check, code := flags(name, os.Args[1:], os.Stderr)
	if env == nil {
		return code
	}
	if check != "" {
		return checkOnly(check, parse)
	}
	if err := os.MkdirAll(env.Run, 0o775); err != nil {
		env.Log.Error("make run directory", "err", err)
		return exitFail
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := serve(ctx, env, parse, run); err != nil {
		env.Log.Error("stopped", "err", err)
		return exitFail
	}
	return exitOK
}

// flags reads the command line. A nil Env means: exit with the code.
func flags(name string, args []string, out io.Writer) (*Env, string, int) {
	env := &Env{Name: name, Release: osrelease.Version()}
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&env.Site, "site", "/data/site/site.toml", "site `file`")
	fs.StringVar(&env.Secrets, "secrets", "/data/secrets/"+name, "`folder` of this daemon's keys")
	fs.StringVar(&env.State, "state", "/data/"+name, "`folder` of this daemon's durable state")
	fs.StringVar(&env.Run, "run", "/run/clinicgate", "run `directory`: wire files and control sockets")
	check := fs.String("check", "", "check this site `file` and exit")
	debug := fs.Bool("debug", false, "log more")
	version := fs.Bool("version", false, "print the release and exit")
	if err := fs.Parse(args); err != nil {
		return nil, "", exitUsage
	}
	if fs.NArg() > 0 {
		fmt.Fprintf(out, "%s: unexpected argument %q\n", name, fs.Arg(0))
		return nil, "", exitUsage
	}
	if *version {
		fmt.Fprintf(out, "%s %s\n", name, env.Release)
		return nil, "", exitOK
	}
	level := slog.LevelInfo
	if *debug {
		level = slog.LevelDebug
	}
	env.Log = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: inWords})).With("program", name)
	env.Faults = NewFaults(env.Log)
	return env, *check, exitOK
}

// inWords writes a time that passed as people do, "1m30s", and not as slog's JSON
// would, in nanoseconds.
func inWords(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}

// checkOnly is -check: the verdict of this daemon on a site file, for people.
func checkOnly[C any](path string, parse func(*site.File) (C, error)) int {
	f, err := load(path)
	if err == nil {
		_, err = parse(f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFail
	}
	return exitOK
}

// load reads a site file; errors name it by its base name, as people know it.
func load(path string) (*site.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, site.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	return site.Parse(filepath.Base(path), data)
}

// serve waits for a usable site file, runs with it and watches for the next.
func serve[C any](ctx context.Context, env *Env, parse func(*site.File) (C, error), run func(context.Context, *Env, C) error) error {
	w := newSiteWatch(env, parse)
	watchErr := make(chan error, 1)
	go func() { watchErr <- watch.File(ctx, env.Site, w.reload) }()
	select {
	case <-ctx.Done():
		return nil
	case err := <-watchErr: // the folder of the site file is missing
		return err
	case <-w.usable:
	}
	runCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-w.changed:
			env.Log.Info("site file changed, starting afresh")
			cancel()
		case <-runCtx.Done():
		}
	}()
	err := run(runCtx, env, w.cfg)
	if runCtx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		return nil
	}
	return err
}

// A siteWatch turns changes of the site file into one usable configuration and
// then one signal that a different usable one is there.
type siteWatch[C any] struct {
	env     *Env
	parse   func(*site.File) (C, error)
	cfg     C             // in force
	usable  chan struct{} // closed when cfg is set
	changed chan struct{} // closed when another usable file is there
}

func newSiteWatch[C any](env *Env, parse func(*site.File) (C, error)) *siteWatch[C] {
	return &siteWatch[C]{env: env, parse: parse, usable: make(chan struct{}), changed: make(chan struct{})}
}

// siteFault identifies the one fault a site file can raise.
const siteFault = "site.unusable"

// reload is called by the watcher, from one goroutine.
func (w *siteWatch[C]) reload() {
	f, err := load(w.env.Site)
	var cfg C
	if err == nil {
		cfg, err = w.parse(f)
	}
	if err != nil {
		w.env.Faults.Raise(wire.Fault{
			ID: siteFault, Severity: wire.Alarm, Where: w.env.Name, What: err.Error(),
			Do: "mend the site file (gatectl site check shows all complaints); until then " + w.inForce(),
		})
		w.publishFaults()
		return
	}
	if w.env.Faults.Clear(siteFault, w.env.Name) {
		w.publishFaults()
	}
	select {
	case <-w.usable:
	default:
		w.cfg = cfg
		close(w.usable)
		return
	}
	// Another program's section, or a comment, is no reason to stop: the clinic
	// would lose its gateway's address for a new upload destination.
	if !reflect.DeepEqual(cfg, w.cfg) {
		select {
		case <-w.changed:
		default:
			close(w.changed)
		}
	}
}

func (w *siteWatch[C]) inForce() string {
	select {
	case <-w.usable:
		return "the last good one stays in force"
	default:
		return w.env.Name + " waits"
	}
}

// publishFaults publishes a bare header while no work has started that would
// publish the whole file; after that the work does.
func (w *siteWatch[C]) publishFaults() {
	select {
	case <-w.usable:
	default:
		if err := w.env.Publish(w.env.Name+".json", &struct{ wire.Header }{}); err != nil {
			w.env.Log.Error("publish", "err", err)
		}
	}
}

// A Task is one of the things a daemon does at the same time. Run returns nil
// only when its context has ended.
type Task struct {
	Name string
	Run  func(context.Context) error
}

// Run runs the tasks until ctx ends or one returns; then the others are told to
// end and waited for. The error names the task that ended first.
func Run(ctx context.Context, tasks ...Task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, t := range tasks {
		wg.Go(func() {
			err := t.Run(ctx)
			if ctx.Err() != nil {
				return // told to end
			}
			if err == nil {
				err = errors.New("ended without being asked to")
			}
			cancel(fmt.Errorf("%s: %w", t.Name, err))
		})
	}
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// Every is a Task body that calls f now and then each period until ctx ends.
func Every(period time.Duration, f func(now time.Time)) func(context.Context) error {
	return func(ctx context.Context) error {
		tick := time.NewTicker(period)
		defer tick.Stop()
		f(time.Now())
		for {
			select {
			case <-ctx.Done():
				return nil
			case now := <-tick.C:
				f(now)
			}
		}
	}
}
