package status

import (
	"time"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/wire"
)

// mirror shows whether uploads are on two disks.
func (s *screen) mirror(m *wire.Mirror, now time.Time) {
	switch {
	case m == nil:
	case !m.Alive:
		s.text("MIRROR", 2, "LOST for %s, %d uploads are on this disk alone: %s", ascii.Age(m.Since, now), m.Behind, m.Reason)
	case m.Behind > 0:
		s.text("MIRROR", 2, "the other box lacks %d, for %s", m.Behind, ascii.Age(m.Oldest, now))
	default:
		s.text("MIRROR", 2, "the other box has every upload, %d ms behind", m.LagMS)
	}
}
