package presence

import (
	"errors"
	"time"

	"clinicgate/cardauth/session"
)

// Recheck judges the card of every live session once more and ends those that
// nobody vouches for any more: revoked, run out, or of an authority that is no
// anchor now. It publishes in any case.
func (c *Clinic) Recheck() {
	c.do(func(m *session.Machine) (events []session.Event) {
		for _, s := range m.Sessions() {
			if s.Cert == nil {
				continue
			}
			_, err := c.judge(s.Cert, s.Patient != "")
			var notNow *session.Refusal
			if err == nil || errors.As(err, &notNow) { // the anchors can't be read: that is no word about the card
				continue
			}
			c.Log.Warn("card is not trusted any more", "sid", s.ID, "err", err)
			events = append(events, m.End(time.Now(), s.ID, session.Distrusted)...)
		}
		return events
	})
}
