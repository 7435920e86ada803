package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"clinicgate/firmware/daemon"
	"clinicgate/firmware/wire"
	"clinicgate/syncd/config"
	"clinicgate/syncd/consult"
	"clinicgate/syncd/consult/casebook"
	"clinicgate/syncd/consult/follow"
	"clinicgate/syncd/mqtt"
	"clinicgate/syncd/vault"
)

// openConsults opens the casebook. A case that can't be read is said and kept; the
// others go on.
func (s *state) openConsults() error {
	book, lost, err := casebook.Open(filepath.Join(s.env.State, "consults"), s.vault.Domain(vault.Consults))
	if err != nil {
		return err
	}
	if lost > 0 {
		s.env.Log.Error("cases can't be read; what they brought back is at the EHR", "cases", lost)
	}
	s.cases = book
	return nil
}

// consults is the task that follows cases, where they go to the EHR.
func (s *state) consults() []daemon.Task {
	toEHR := func(d config.Destination) bool {
		return slices.Contains(d.Accepts, config.FormatFHIR) && d.URL.String() == s.cfg.EHR.Base.String()
	}
	if !slices.ContainsFunc(s.cfg.Destinations, toEHR) {
		return nil
	}
	f := follow.New(follow.Options{
		Queue: s.queue, Records: s.reader(0), Book: s.cases, Base: s.cfg.EHR.Base.String(), Faults: s.env.Faults, Fault: faultConsult, Log: s.env.Log, Say: s.announce,
	})
	return []daemon.Task{{Name: "consultations", Run: f.Run}}
}

// said is a notice as devices hear it, on clinicgate/consults/CASE. The case is a
// number of this box; nothing else in it is anybody's.
func said(n consult.Notice) mqtt.Message {
	text, _ := json.Marshal(struct { // of strings, numbers and a time: it can't fail
		V int `json:"v"`
		consult.Notice
	}{1, n})
	return mqtt.Message{Topic: "consults/" + n.Case, Payload: text}
}

func (s *state) announce(n consult.Notice) {
	if broker := s.broker.Load(); broker != nil {
		if err := broker.Say(said(n)); err != nil {
			s.env.Log.Debug("announce a case", "err", err)
		}
	}
}

// standing is what a device that begins to listen is told: every case that is not
// over.
func (s *state) standing() (all []mqtt.Message) {
	for _, c := range s.cases.Cases() {
		all = append(all, said(c.Notice()))
	}
	return all
}

// consultRoutes adds what a person may ask of cases on the control socket.
func (s *state) consultRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /consults", func(w http.ResponseWriter, _ *http.Request) {
		all := []wire.Consult{}
		for _, c := range s.cases.Cases() {
			all = append(all, brief(c))
		}
		reply(w, http.StatusOK, wire.Consults{V: 1, Items: all})
	})
	mux.HandleFunc("GET /consults/{id}", func(w http.ResponseWriter, r *http.Request) {
		var found []consult.Case
		for _, c := range s.cases.Cases() {
			if id := r.PathValue("id"); len(id) >= 4 && strings.HasPrefix(c.ID, strings.ToLower(id)) {
				found = append(found, c)
			}
		}
		if len(found) != 1 {
			refuse(w, http.StatusNotFound, fmt.Sprintf("%d cases have that number; want 4 or more digits of one", len(found)))
			return
		}
		reply(w, http.StatusOK, detail(found[0]))
	})
}

func brief(c consult.Case) wire.Consult {
	return wire.Consult{Case: c.ID, State: string(c.State), Urgent: c.Urgent, Began: c.Began, Changed: c.Changed, Replies: len(c.Replies)}
}

func detail(c consult.Case) wire.ConsultDetail {
	d := wire.ConsultDetail{V: 1, Consult: brief(c), Request: c.Request.String(), Sent: []string{}, Back: []wire.ConsultReply{}}
	for _, ref := range c.Own {
		d.Sent = append(d.Sent, ref.String())
	}
	for _, r := range c.Replies {
		d.Back = append(d.Back, wire.ConsultReply{Resource: r.Ref.String(), Version: r.Version, At: r.At})
	}
	return d
}
