package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"clinicgate/cardauth/config"
	"clinicgate/cardauth/hub"
	"clinicgate/cardauth/presence"
	"clinicgate/cardauth/serve"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
)

// Rooms are the readers of the rooms' own workstations, if the site has any.
type rooms struct {
	env *daemon.Env
	cfg config.Config
	hub *hub.Hub // nil: none, or what is kept of them can't be read
}

// openRooms reads who is enrolled. Without it the box's own readers still serve.
func openRooms(env *daemon.Env, cfg config.Config, keys *serve.Keys) *rooms {
	r := &rooms{env: env, cfg: cfg}
	if cfg.Agents.Listen == "" {
		return r
	}
	file := filepath.Join(env.State, "rooms.json")
	registry, err := hub.OpenRegistry(file, filepath.Join(env.Secrets, "rooms.key"), time.Now())
	if err != nil {
		env.Faults.Raise(wire.Fault{ID: "card.rooms", Severity: wire.Alarm, Where: "rooms' workstations", What: err.Error(),
			Do: "mend or remove the file, restart the box; then enroll the rooms' workstations again"})
		return r
	}
	r.hub = hub.New(registry, keys.Gateway, env.Faults, env.Log)
	return r
}

// bus is their readers; nil when there are none.
func (r *rooms) bus() presence.Bus {
	if r.hub == nil {
		return nil // not a nil *Hub in a Bus
	}
	return r.hub
}

// task takes their calls.
func (r *rooms) task(publish func()) daemon.Task {
	return daemon.Task{Name: "rooms' workstations", Run: func(ctx context.Context) error {
		if r.hub == nil {
			<-ctx.Done()
			return nil
		}
		return accept(ctx, r.env, "rooms' workstations", r.cfg.Agents.Listen, publish, r.hub.Serve)
	}}
}

// control adds what gatectl card asks for.
func (r *rooms) control(mux *http.ServeMux) {
	mux.HandleFunc("GET /rooms", r.list)
	mux.HandleFunc("POST /rooms/{room}/invite", r.invite)
	mux.HandleFunc("DELETE /rooms/{room}", r.revoke)
}

// list: every room with a reader at its own workstation.
func (r *rooms) list(w http.ResponseWriter, _ *http.Request) {
	type room struct {
		Room      string     `json:"room"`
		Enrolled  *time.Time `json:"enrolled"` // null: no workstation is
		Connected string     `json:"connected,omitempty"`
	}
	out := []room{}
	for _, c := range r.cfg.Readers {
		if !c.Agent {
			continue
		}
		x := room{Room: c.Room}
		if r.hub != nil {
			for _, e := range r.hub.Registry.Rooms() {
				if e.Room == c.Room {
					x.Enrolled = &e.Since
				}
			}
			if addr, ok := r.hub.Connected(c.Room); ok {
				x.Connected = addr.String()
			}
		}
		out = append(out, x)
	}
	reply(w, http.StatusOK, map[string]any{"rooms": out})
}

// invite: a code by which the room's workstation enrolls.
func (r *rooms) invite(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("room")
	if err := r.has(name); err != nil {
		reply(w, http.StatusNotFound, map[string]string{"error": err.Error()})
		return
	}
	code := r.hub.Registry.Invite(name, time.Now())
	r.env.Log.Info("enrolment code shown", "room", name)
	reply(w, http.StatusOK, map[string]any{"room": name, "code": code.String(), "expires_in": int(hub.CodeLife / time.Second)})
}

// revoke: turns a room's workstation away.
func (r *rooms) revoke(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("room")
	err := r.has(name)
	was := false
	if err == nil {
		was, err = r.hub.Revoke(name)
	}
	if err != nil {
		reply(w, http.StatusNotFound, map[string]string{"error": err.Error()})
		return
	}
	r.env.Log.Info("workstation revoked", "room", name)
	reply(w, http.StatusOK, map[string]any{"room": name, "revoked": was})
}

// has says whether the room's reader is at its own workstation.
func (r *rooms) has(name string) error {
	for _, c := range r.cfg.Readers {
		if c.Agent && c.Room == name {
			if r.hub == nil {
				return errors.New("the rooms' workstations can't be kept now; see gatectl status")
			}
			return nil
		}
	}
	return errors.New("the site file has no reader of room " + name + " with agent = true")
}

func reply(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body) // who hung up needs no answer
}

// accept serves a port, trying until it is free.
func accept(ctx context.Context, env *daemon.Env, what, addr string, publish func(), serve func(context.Context, net.Listener) error) error {
	const id = "card.listen"
	for {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			env.Faults.Clear(id, addr)
			publish()
			env.Log.Info("open", "endpoint", what, "address", addr)
			return serve(ctx, l)
		}
		env.Faults.Raise(wire.Fault{ID: id, Severity: wire.Alarm, Where: addr, What: err.Error(),
			Do: "free the port or change it in the site file, section card"})
		publish()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(retry):
		}
	}
}

// listen serves the login endpoint.
func listen(ctx context.Context, env *daemon.Env, addr string, conf *tls.Config, h http.Handler, publish func()) error {
	return accept(ctx, env, "login", addr, publish, func(ctx context.Context, l net.Listener) error {
		return daemon.ServeHTTP(ctx, tls.NewListener(l, conf), daemon.Server(h, env.Log))
	})
}
