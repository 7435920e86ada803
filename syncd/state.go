package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/metric"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/cache"
	"clinicgate/syncd/config"
	"clinicgate/syncd/consult/casebook"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/deliver/witness"
	"clinicgate/syncd/grant"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/mqtt"
	"clinicgate/syncd/partial"
	"clinicgate/syncd/prefetch"
	"clinicgate/syncd/queue"
	"clinicgate/syncd/register"
	"clinicgate/syncd/trail"
	"clinicgate/syncd/upstream"
	"clinicgate/syncd/vault"
)

// state is everything open while the daemon runs.
type state struct {
	env     *daemon.Env
	cfg     config.Config
	vault   *vault.Vault
	cache   *cache.Cache
	trail   *trail.Trail
	queue   *queue.Queue
	parts   *partial.Store
	door    *ingest.Door // where every way in leads
	deliver *deliver.Engine
	cases   *casebook.Book
	broker  atomic.Pointer[mqtt.Server]
	pair    *pair // nil: there is no other box
	changes       // of records
	ehr     *upstream.Client
	access  *access // the gateway's own, at the EHR
	keys    *keeper // nil: the keys are the box's own

	register *register.Register   // patients by number, and what is ordered
	witness  *witness.Witness     // nil: the trail of accesses stays here
	ahead    *prefetch.Prefetcher // nil: the site wants none
	lastRead atomic.Int64         // Unix nanoseconds: when somebody read a record last

	card   atomic.Pointer[wire.Card] // as cardauth last said
	roster atomic.Pointer[grant.Roster]
	// standby: the other box of the pair serves the clinic.
	standby atomic.Bool
	shown   atomic.Pointer[wire.Sync] // what was published last

	metrics  metric.Set
	started  time.Time
	starting sync.WaitGroup // endpoints that have not been tried yet

	mu      sync.Mutex
	strict  time.Time // when the EHR last gave a record that was not asked for
	guarded int       // process of cardauth whose end is waited for
}

// Faults of this program, by ID.
const (
	faultStore    = "sync.store"
	faultTrail    = "sync.trail-broken"
	faultAudit    = "sync.trail-late"
	faultQueue    = "sync.queue-damaged"
	faultDisk     = "sync.disk-full"
	faultKeys     = "sync.keys-new"
	faultTLS      = "sync.tls-missing"
	faultEndpoint = "sync.endpoint-down"
	faultLost     = "sync.ehr-unreachable"
	faultNonsense = "sync.ehr-nonsense"
	faultForeign  = "sync.ehr-wrong-record"
	faultLogin    = "sync.ehr-login"
	faultCard     = "sync.cardauth-silent"
	faultHeld     = "sync.patient-held"
	faultLate     = "sync.stat-late"
	faultDiskLow  = "sync.disk-low"
	faultClock    = "sync.clock-back"
	faultOrders   = "sync.worklist"
	faultConsult  = "sync.consult-foreign"
	faultAhead    = "sync.ahead"
	faultEdits    = "sync.edits-damaged"
	faultClash    = "sync.clash"
	faultUnsent   = "sync.edits-late"
	faultTrustee  = "sync.trustee"
	faultShredded = "sync.keys-shredded"
)

// open opens the stores. It leaves nothing open when it fails.
func open(env *daemon.Env, cfg config.Config) (*state, error) {
	s := &state{env: env, cfg: cfg, started: time.Now(), ehr: upstream.New(cfg.EHR.Base, cfg.EHR.Timeout)}
	if err := errors.Join(s.openAccess(), s.openStores()); err != nil {
		s.close()
		return nil, err
	}
	if n, _ := s.cache.Stats(); s.vault.Fresh() && n > 0 {
		env.Faults.Raise(wire.Fault{
			ID: faultKeys, Severity: wire.Alarm, Where: env.Secrets,
			What: fmt.Sprintf("the keys were missing and have been made anew; %d stored answers can't be read", n),
			Do:   "restore the folder from the box's backup and restart; without it what was stored is lost",
		})
	}
	return s, nil
}

// openStores opens the vault and what lies behind it, as far as it gets.
func (s *state) openStores() (err error) {
	if err = s.openVault(); err != nil {
		return err
	}
	s.cache, err = cache.Open(cache.Options{
		Dir: filepath.Join(s.env.State, "cache"), Bytes: s.cfg.Cache.Bytes, Domain: s.vault.Domain(vault.Cache),
		Base: s.cfg.EHR.Base.String(), Log: s.env.Log,
	})
	if err != nil {
		return err
	}
	s.trail, err = trail.Open(filepath.Join(s.env.State, "trail"), s.vault.Domain(vault.Audit))
	if errors.Is(err, trail.ErrBroken) {
		s.env.Faults.Raise(wire.Fault{
			ID: faultTrail, Severity: wire.Alarm, Where: "trail of accesses", What: err.Error(),
			Do: "call support: someone must look at why; the trail goes on from there",
		})
		err = nil
	}
	if err != nil {
		return err
	}
	s.openRegister()
	if err := s.openEdits(); err != nil {
		return err
	}
	s.register.Through(s.reader(0), s.reader(register.Lasting)) // they show what is pending
	if err := s.openConsults(); err != nil {
		return err
	}
	return s.openQueue()
}

func (s *state) close() {
	var errs []error
	if s.queue != nil {
		errs = append(errs, s.queue.Close())
	}
	if s.edits != nil {
		errs = append(errs, s.edits.Close())
	}
	if s.trail != nil {
		errs = append(errs, s.trail.Close())
	}
	if s.cache != nil {
		errs = append(errs, s.cache.Close())
	}
	if err := errors.Join(errs...); err != nil {
		s.env.Log.Error("close", "err", err)
	}
}
