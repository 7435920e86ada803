package session

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// Basis is what a doctor's care for a patient stands on.
type Basis string

// Bases of care.
const (
	Present   Basis = "present"   // the patient's card is in the room's reader
	Window    Basis = "window"    // it was, not long ago
	Emergency Basis = "emergency" // the doctor broke the glass
)

// More reasons, of care.
const (
	DoctorGone Reason = "doctor-gone" // the session it belongs to is over
	TimeOver   Reason = "time-over"
	Closed     Reason = "closed" // by the doctor, or by the patient
)

// A Care is one doctor's care for one patient: what makes records of that patient
// writable. It belongs to a live session of the doctor and dies with it; with the
// same doctor's next session it comes back, if that is soon.
type Care struct {
	ID      string
	Session string // of the doctor
	Doctor  string // Subject of that session
	Patient string // pseudonym
	Number  string // by which the doctor or the card called the patient; for the trace
	Room    string
	Basis   Basis
	Since   time.Time
	Until   time.Time // zero while the patient's card is in
}

// Rules are a site's, for care.
type Rules struct {
	Doctor    string        // the role that cares
	Window    time.Duration // care goes on for so long after the patient's card left
	Emergency time.Duration // and so long after the glass was broken
	Resume    time.Duration // a doctor who comes back within it goes on
	PerDay    int           // emergencies a doctor may declare in 24 hours
}

// A ward is the care under way, and what is remembered of that of doctors who
// left their room for a moment.
type ward struct {
	rules       Rules
	care        map[string]*Care
	left        []leave
	emergencies map[string][]time.Time // Doctor → when, of the last day
	serial      int
}

type leave struct {
	Care
	at time.Time
}

func newWard(r Rules) ward {
	return ward{rules: r, care: map[string]*Care{}, emergencies: map[string][]time.Time{}}
}

// settle makes care follow the sessions. Every change of those ends here, so that
// no care is seen to outlive its doctor's session.
func (m *Machine) settle(now time.Time, events []Event) []Event {
	for _, c := range m.Care() {
		live := m.care[c.ID]
		switch {
		case m.sessions[c.Session] == nil:
			delete(m.care, c.ID)
			events = append(events, ended(c, DoctorGone))
			if c.Until.IsZero() {
				c.Until = now.Add(m.rules.Window)
			}
			c.Basis = away(c.Basis)
			m.left = append(m.left, leave{c, now})
		case c.Basis == Present && !m.isHere(c):
			live.Basis, live.Until = Window, now.Add(m.rules.Window)
		}
		if !live.Until.IsZero() && now.After(live.Until) {
			events = append(events, m.closed(c.ID, TimeOver)...)
		}
	}
	return append(events, m.admit(now)...)
}

// away is what care stands on once the doctor or the patient has left.
func away(b Basis) Basis {
	if b == Present {
		return Window
	}
	return b
}

// isHere reports that the patient's card is in a reader of the care's room.
func (m *Machine) isHere(c Care) bool {
	for _, s := range m.sessions {
		if s.Patient == c.Patient && s.Room == c.Room {
			return true
		}
	}
	return false
}

// admit begins care: for each doctor with what was left a moment ago, and with
// each patient whose card is in the same room.
func (m *Machine) admit(now time.Time) []Event {
	var events []Event
	m.left = slices.DeleteFunc(m.left, func(l leave) bool {
		return now.Sub(l.at) > m.rules.Resume || now.After(l.Until)
	})
	for _, doctor := range m.Sessions() {
		if doctor.Role != m.rules.Doctor {
			continue
		}
		events = append(events, m.resume(doctor)...)
		for _, patient := range m.Sessions() {
			if patient.Patient != "" && patient.Room == doctor.Room {
				events = append(events, m.meet(now, doctor, patient)...)
			}
		}
	}
	return events
}

func (m *Machine) resume(doctor Session) []Event {
	var events []Event
	m.left = slices.DeleteFunc(m.left, func(l leave) bool {
		if l.Doctor != doctor.Subject {
			return false
		}
		l.Session, l.Room = doctor.ID, doctor.Room
		events = append(events, m.begin(l.Care))
		return true
	})
	return events
}

// meet is a doctor and a patient in one room. An emergency goes on beside it: it
// is under review until it ends.
func (m *Machine) meet(now time.Time, doctor, patient Session) []Event {
	for _, c := range m.care {
		if c.Session == doctor.ID && c.Patient == patient.Patient && c.Basis != Emergency {
			c.Basis, c.Until, c.Room = Present, time.Time{}, doctor.Room
			return nil
		}
	}
	return []Event{m.begin(Care{
		Session: doctor.ID, Doctor: doctor.Subject, Patient: patient.Patient, Number: patient.Number, Room: doctor.Room,
		Basis: Present, Since: now,
	})}
}

func (m *Machine) begin(c Care) Event {
	if c.ID == "" {
		m.serial++
		c.ID = "c-" + strconv.Itoa(m.serial)
	}
	m.care[c.ID] = &c
	return Event{Care: &c, Session: *m.sessions[c.Session]}
}

func ended(c Care, why Reason) Event {
	return Event{Care: &c, Session: Session{ID: c.Session, Subject: c.Doctor, Room: c.Room}, Ended: why}
}

func (m *Machine) closed(id string, why Reason) []Event {
	c := m.care[id]
	if c == nil {
		return nil
	}
	delete(m.care, id)
	return []Event{ended(*c, why)}
}

// Close ends care before its time, for the doctor whose it is or the patient
// whose it is, by the session of either. Present care ends with the card only.
func (m *Machine) Close(id, session string) []Event {
	c, s := m.care[id], m.sessions[session]
	if c == nil || s == nil || c.Basis == Present || c.Session != session && (c.Patient != s.Patient || !s.PIN) {
		return nil
	}
	return m.closed(id, Closed)
}

// MayBreak says why a session may not break the glass now, or nil.
func (m *Machine) MayBreak(now time.Time, session string) *Refusal {
	s := m.sessions[session]
	switch {
	case s == nil:
		return &Refusal{Kind: NoSession, Detail: "the session is over; log in again"}
	case s.Role != m.rules.Doctor:
		return &Refusal{Kind: NotYours, Detail: "only a doctor can declare an emergency"}
	case m.Emergencies(now, s.Subject) >= m.rules.PerDay:
		return &Refusal{Kind: TooMany, Detail: "so many emergencies in a day must be looked at first; the patient's card opens the record"}
	}
	return nil
}

// Break opens a patient's record to a doctor whose card has signed for it.
func (m *Machine) Break(now time.Time, session, patient, number string) []Event {
	if m.MayBreak(now, session) != nil {
		return nil
	}
	s := m.sessions[session]
	m.emergencies[s.Subject] = append(m.emergencies[s.Subject], now)
	var events []Event
	for _, c := range m.Care() { // declared once more: it is longer, not twice
		if c.Session == session && c.Patient == patient && c.Basis == Emergency {
			events = append(events, m.closed(c.ID, Closed)...)
		}
	}
	return append(events, m.begin(Care{
		Session: session, Doctor: s.Subject, Patient: patient, Number: number, Room: s.Room,
		Basis: Emergency, Since: now, Until: now.Add(m.rules.Emergency),
	}))
}

// Emergencies is how many emergencies a doctor declared in the last 24 hours; of
// all doctors if none is named.
func (m *Machine) Emergencies(now time.Time, doctor string) int {
	n := 0
	for who, times := range m.emergencies {
		times = slices.DeleteFunc(times, func(t time.Time) bool { return now.Sub(t) > 24*time.Hour })
		m.emergencies[who] = times
		if len(times) == 0 {
			delete(m.emergencies, who)
		}
		if doctor == "" || who == doctor {
			n += len(times)
		}
	}
	return n
}

// Care returns the care under way, oldest first.
func (m *Machine) Care() []Care {
	var all []Care
	for _, c := range m.care {
		all = append(all, *c)
	}
	slices.SortFunc(all, func(a, b Care) int { return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID)) })
	return all
}
