package main

import (
	"net/http"

	"clinicgate/syncd/grant"
	"clinicgate/syncd/handin"
	"clinicgate/syncd/register"
	"clinicgate/syncd/serve"
	"clinicgate/syncd/submission"
)

// handIns adds the way in for new FHIR resources, if some destination takes them.
func (s *state) handIns(mux *http.ServeMux, records http.Handler) {
	if !s.cfg.TakesFHIR() {
		return
	}
	o := handin.Options{
		Base: serve.Base, EHR: s.cfg.EHR.Base.String(), Door: s.door, Trail: s.trail, Known: s.register, Records: s.reader(register.Lasting),
		Roster: s.live, Issuer: grant.Issuer(s.cfg.Site.Code), Log: s.env.Log,
	}
	if s.cfg.Uploads != nil {
		o.Devices = s.cfg.Uploads.Devices
	}
	handin.New(o).Register(mux, records)
}

// creates are the types that may be handed in by themselves.
func (s *state) creates() []string {
	if !s.cfg.TakesFHIR() {
		return nil
	}
	return submission.Alone()
}
