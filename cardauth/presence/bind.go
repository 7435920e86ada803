package presence

import "clinicgate/cardauth/session"

// Bind lets tokens of a live session be bound to a key or address too, and
// publishes that. It reports whether the session lives.
func (c *Clinic) Bind(id, key string) (lives bool) {
	c.do(func(m *session.Machine) []session.Event { lives = m.Bind(id, key); return nil })
	return lives
}

// Unbind ends what is bound to a key or address, at once.
func (c *Clinic) Unbind(id, key string) {
	c.do(func(m *session.Machine) []session.Event { m.Unbind(id, key); return nil })
}
