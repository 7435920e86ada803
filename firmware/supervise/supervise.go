// Package supervise keeps a fixed set of programs running, each under its own
// user with no more rights than it was given: one that ends is started again
// after a back-off, alone, and takes none of the others with it.
//
// A Supervisor waits for every child of the process, those it did not start
// included: there is one in a process, and nothing else there may wait for
// children while it runs. As PID 1 that is what reaping means.
package supervise

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"clinicgate/firmware/restart"
	"clinicgate/firmware/wire"
)

// Spec is one program and the rights it runs with.
type Spec struct {
	Name   string
	Path   string
	Args   []string // without the program's own name
	Env    []string // beyond PATH and what the supervisor sets
	UID    int
	GID    int
	Groups []int // supplementary
	Caps   []uintptr

	// How it says that it serves: READY=1 on NOTIFY_SOCKET, a file that appears,
	// or, with neither, by being started.
	Notify    bool
	ReadyFile string

	TTY    string // device for stdin, stdout, stderr and as controlling terminal; else output is logged
	Memory int64  // bytes, 0: no limit; needs Config.Cgroup
	OOM    int    // oom_score_adj: who dies first when memory runs out
	// Realtime is a priority of SCHED_FIFO, 1 to 99; 0: share the processors like
	// everybody. For a service that sleeps nearly always and must wake in time.
	Realtime uint32

	Prepare func() error  // before each start, as the supervisor's user
	Grace   time.Duration // from SIGTERM to SIGKILL, 0: 5 s
}

// Config is where a Supervisor works and whom it tells.
type Config struct {
	Dir     string // for notification sockets; others may enter it, not list it
	Cgroup  string // folder of a cgroup v2 with the memory controller on; empty: no limits
	Files   uint64 // open files of this process and of each service, 0: as inherited
	Policy  restart.Policy
	Output  func(service string) io.Writer // where a service's output goes
	Changed func()                         // after each change of state; must not block
	Log     *slog.Logger
}

// Supervisor runs services. Its methods are safe for concurrent use.
type Supervisor struct {
	cfg Config

	mu       sync.Mutex // also held from fork until the child is in running
	services []*service
	running  map[int]*run // by process id
}

// service is one Spec and what became of it. Guarded by Supervisor.mu.
type service struct {
	Spec
	state wire.Service
	kick  chan string // a reason to start afresh
}

// run is one life of a service.
type run struct {
	pid    int
	began  time.Time
	ended  chan unix.WaitStatus // buffered
	notify *notifySocket
}

// New prepares a Supervisor; Run starts the services.
func New(cfg Config, specs ...Spec) *Supervisor {
	s := &Supervisor{cfg: cfg, running: map[int]*run{}}
	for _, spec := range specs {
		if spec.Grace == 0 {
			spec.Grace = 5 * time.Second
		}
		s.services = append(s.services, &service{
			Spec:  spec,
			state: wire.Service{Name: spec.Name, State: wire.ServiceStopped, Since: now()},
			kick:  make(chan string, 1),
		})
	}
	return s
}

// Run starts all services at the same time and keeps them running until ctx
// ends. Then each gets SIGTERM, after its grace SIGKILL, with all of its process
// group; Run returns when none is left.
func (s *Supervisor) Run(ctx context.Context) {
	if err := limitAll(s.cfg.Files); err != nil {
		s.cfg.Log.Error("services run without limits", "err", err)
	}
	reaping, stopReaping := context.WithCancel(context.Background())
	reaped := make(chan struct{})
	go func() { defer close(reaped); s.reap(reaping) }()

	var wg sync.WaitGroup
	for _, svc := range s.services {
		wg.Go(func() { s.keep(ctx, svc) })
	}
	wg.Wait()
	stopReaping()
	<-reaped
}

// Restart ends a service's present life, with SIGTERM first, and starts it again
// without a wait. It does nothing when the service waits to be started anyway.
func (s *Supervisor) Restart(name, reason string) {
	for _, svc := range s.services {
		if svc.Name == name {
			select {
			case svc.kick <- reason:
			default: // one is on its way
			}
		}
	}
}

// Services returns the state of all services, in the order given to New.
func (s *Supervisor) Services() []wire.Service {
	s.mu.Lock()
	var all []wire.Service
	for _, svc := range s.services {
		all = append(all, svc.state)
	}
	s.mu.Unlock()
	for i := range all {
		if all[i].PID != 0 {
			all[i].RSS = residentBytes(all[i].PID)
		}
	}
	return all
}

// keep is the life of one service, from start to start.
func (s *Supervisor) keep(ctx context.Context, svc *service) {
	var history restart.History
	for ctx.Err() == nil {
		began := time.Now()
		reason, clean, kicked := s.live(ctx, svc)
		if ctx.Err() != nil {
			s.set(svc, func(st *wire.Service) { st.LastExit = reason })
			break
		}
		var wait time.Duration
		if !kicked {
			wait, history = s.cfg.Policy.Next(history, restart.Exit{Ran: time.Since(began), Clean: clean})
		}
		s.cfg.Log.Warn("service ended", "service", svc.Name, "exit", reason, "again_in_ms", wait.Milliseconds())
		s.set(svc, func(st *wire.Service) {
			st.State, st.PID, st.LastExit = wire.ServiceBackoff, 0, reason
			st.Restarts++
			if wait > 0 { // neither asked for nor an orderly end
				st.Crashes++
			}
		})
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case <-svc.kick: // what it waited for may be there now
		}
	}
	s.set(svc, func(st *wire.Service) { st.State, st.PID = wire.ServiceStopped, 0 })
}

// live is one life of a service: it returns how it ended, whether with status 0,
// and whether we asked for it.
func (s *Supervisor) live(ctx context.Context, svc *service) (exit string, clean, kicked bool) {
	r, err := s.start(svc)
	if err != nil {
		return err.Error(), false, false
	}
	defer r.notify.close()
	s.set(svc, func(st *wire.Service) { st.State, st.PID = wire.ServiceStarting, r.pid })
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go s.awaitReady(watching, svc, r)

	var status unix.WaitStatus
	select {
	case status = <-r.ended:
	case <-ctx.Done():
		status = s.stop(svc, r)
	case why := <-svc.kick:
		s.cfg.Log.Info("service restarts", "service", svc.Name, "reason", why)
		status, kicked = s.stop(svc, r), true
	}
	killGroup(r.pid, unix.SIGKILL) // what it left behind
	return exitText(status), status.Exited() && status.ExitStatus() == 0, kicked
}

// stop ends a run in two phases and waits for it.
func (s *Supervisor) stop(svc *service, r *run) unix.WaitStatus {
	killGroup(r.pid, unix.SIGTERM)
	select {
	case status := <-r.ended:
		return status
	case <-time.After(svc.Grace):
	}
	s.cfg.Log.Warn("service ignores SIGTERM, killing it", "service", svc.Name, "after", svc.Grace)
	killGroup(r.pid, unix.SIGKILL)
	return <-r.ended
}

// set changes a service's published state.
func (s *Supervisor) set(svc *service, change func(*wire.Service)) {
	s.mu.Lock()
	old := svc.state.State
	change(&svc.state)
	if svc.state.State != old {
		svc.state.Since = now()
	}
	s.mu.Unlock()
	s.cfg.Changed()
}

func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
