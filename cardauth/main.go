//go:debug multipathtcp=0

// Cardauth turns a professional's smartcard into a session, locally and offline,
// and ends it when the card leaves.
package main

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"clinicgate/cardauth/config"
	"clinicgate/cardauth/consent"
	"clinicgate/cardauth/pcsc"
	"clinicgate/cardauth/presence"
	"clinicgate/cardauth/sealed"
	"clinicgate/cardauth/serve"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

func main() { os.Exit(daemon.Main("cardauth", config.Parse, run)) }

// How often things are looked at.
const (
	files = 5 * time.Second // anchors and TLS keys, which may be replaced
	retry = 2 * time.Second // what could not be opened
)

func run(ctx context.Context, env *daemon.Env, cfg config.Config) error {
	if err := keepMemory(); err != nil {
		return err
	}
	ring, err := openKeyring(ctx, env, cfg.Site, openTPM)
	if err != nil {
		return err
	}
	tokens := ring.signer
	patientKey, err := await(ctx, env, "key of patients' pseudonyms", func() ([]byte, error) { return openPatientKey(env) })
	if err != nil {
		return err
	}
	pub := &publisher{env: env, keys: ring, strict: cfg.Care.Reads, apps: published(cfg.Apps)}
	auth := newAuthority(env, cfg)
	anchors := filepath.Join(filepath.Dir(env.Site), "anchors")
	keys := &serve.Keys{
		Cert: filepath.Join(env.Secrets, "tls.crt"), Key: filepath.Join(env.Secrets, "tls.key"),
		Devices: filepath.Join(anchors, cfg.Devices),
	}
	trace, err := await(ctx, env, "audit spool", func() (*recorder, error) { return openRecorder(env, cfg.Site) })
	if err != nil {
		return err
	}
	defer trace.close()
	consents, _ := consent.Open(filepath.Join(env.State, "consents.json")) // reload says what is wrong with it
	pub.consents = consents
	watch, err := await(ctx, env, "lists of revoked cards", func() (*vigil, error) { return openVigil(env, auth, cfg.Revocation, trace) })
	if err != nil {
		return err
	}
	auth.vigil, pub.trust = watch, watch.trust
	pub.gauge = func(c *wire.Card) {
		waiting, _ := trace.spool.Status()
		gauge(&trace.metrics, c, waiting)
	}
	rooms := openRooms(env, cfg, keys)
	clinic := presence.New(presence.Setup{
		Bus: bus{}, Rooms: rooms.bus(), Readers: cfg.Readers, Holder: auth.holder, Patient: auth.patient, Signer: auth.signer, Present: auth.present, Publish: pub.publish,
		Pseudonym: func(number string) string { return wire.Pseudonym(patientKey, number) }, Keys: openKeybook(env, patientKey), Rules: rules(cfg.Care),
		Happened: trace.happened, Faults: env.Faults, Log: env.Log,
	})
	control := http.NewServeMux()
	trace.handOver(control)
	control.Handle("GET /metrics", &trace.metrics)
	rooms.control(control)
	watch.take(control, clinic.Recheck)
	ring.take(control, clinic.Republish)
	reload := func(now time.Time) {
		ring.look(now)
		watch.reload(auth.load(anchors, now), filepath.Join(filepath.Dir(env.Site), "lists"))
		loadKeys(env, keys)
		readConsents(env, consents)
		clinic.Recheck()
	}
	reload(time.Now())
	door := front{clinic, trace}
	care := ward{clinic, trace, consents, cfg.Site}
	api := &serve.Server{Desk: door, Ward: care, View: clinic, Tokens: tokens, Admits: cfg.Workstations.Admits, Log: env.Log, Seals: &sealed.Keys{}, SealedOnly: cfg.SealedPIN}
	return daemon.Run(ctx,
		daemon.Task{Name: "readers", Run: clinic.Run},
		daemon.Task{Name: "deadlines", Run: clinic.Deadlines},
		daemon.Task{Name: "lease", Run: daemon.Every(leaseStep, func(time.Time) { clinic.Republish() })},
		daemon.Task{Name: "emergencies", Run: daemon.Every(time.Minute, func(time.Time) { care.Remind() })},
		daemon.Task{Name: "files", Run: daemon.Every(files, reload)},
		daemon.Task{Name: "login endpoint", Run: func(ctx context.Context) error {
			return listen(ctx, env, cfg.Listen, keys.TLS(), api.Handler(), func() {
				env.Ready() // with a fault, if so: a supervisor can't help it
				clinic.Republish()
			})
		}},
		rooms.task(clinic.Republish),
		browserApps(env, cfg, door, clinic, tokens, rooms, keys),
		followPair(env, len(cfg.Readers), clinic.Republish),
		env.Control(control),
	)
}

// bus is the real PC/SC.
type bus struct{}

// Watch follows pcscd's readers.
func (bus) Watch(ctx context.Context, changed func([]pcsc.State)) error {
	return pcsc.Watch(ctx, changed)
}

// Connect holds a card.
func (bus) Connect(reader string) (presence.Link, error) {
	card, err := pcsc.Connect(reader)
	if err != nil {
		return nil, err // not a nil *Card in a Link
	}
	return card, nil
}

func loadKeys(env *daemon.Env, keys *serve.Keys) {
	const id, where = "card.tls", "login endpoint"
	if err := keys.Load(); err != nil {
		env.Faults.Raise(wire.Fault{ID: id, Severity: wire.Alarm, Where: where, What: err.Error(),
			Do: "put tls.crt and tls.key into secrets/cardauth/ and the devices CA into the site's anchors/"})
		return
	}
	env.Faults.Clear(id, where)
}
