package session

import "slices"

// maxKeys bounds the programs of one session; one more puts the oldest out.
const maxKeys = 8

// Bind lets tokens of a session be bound to a key or address too. It reports
// whether the session lives.
func (m *Machine) Bind(id, key string) bool {
	s := m.sessions[id]
	if s == nil {
		return false
	}
	if slices.Contains(s.Keys, key) {
		return true
	}
	// A new slice: copies of the session are about.
	keys := append(slices.Clone(s.Keys), key)
	s.Keys = keys[max(0, len(keys)-maxKeys):]
	return true
}

// Unbind ends what is bound to a key or address.
func (m *Machine) Unbind(id, key string) {
	if s := m.sessions[id]; s != nil {
		s.Keys = slices.DeleteFunc(slices.Clone(s.Keys), func(k string) bool { return k == key })
	}
}
