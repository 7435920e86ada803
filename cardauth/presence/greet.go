package presence

import (
	"time"

	"clinicgate/cardauth/proof"
	"clinicgate/cardauth/session"
)

// greet begins the session of a patient's card without a PIN: its key for that
// proves that the card is here, and no more. Nobody has asked, so nobody is told
// why it did not begin; the log is.
func (r *reader) greet() {
	p, holder, err := r.identify(proof.Presence)
	if err == nil {
		err = r.prove(p, "presence")
	}
	if err != nil {
		if r.link.broken != nil {
			r.letGo()
		}
		r.c.Log.Info("patient's card does not prove its presence", "reader", r.name, "err", err)
		return
	}
	r.proven(holder)
	now := time.Now()
	s := r.session(p, holder)
	s.Due = r.link.due(now)
	r.c.do(func(m *session.Machine) []session.Event { return m.Open(now, s) })
	if _, lives := r.c.Live(s.ID); lives {
		r.card = p
	}
}
