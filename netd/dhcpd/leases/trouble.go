package leases

import (
	"net/netip"
	"slices"
	"time"

	"clinicgate/netd/config"
)

// trouble is what people should know.
type trouble struct {
	exhausted time.Time // when a device last got nothing
	server    netip.Addr
	seen      time.Time // when a device last chose that server
	taken     []taken
}

// taken is a reserved address that another device uses.
type taken struct {
	reservation config.Reservation
	seen        time.Time
}

// lasting is how long after it was last seen a trouble is told of.
const lasting = 10 * time.Minute

// maxTaken bounds the list of reservations in trouble.
const maxTaken = 8

func (t *trouble) note(r config.Reservation, now time.Time) {
	t.taken = slices.DeleteFunc(t.taken, func(x taken) bool {
		return x.reservation == r || now.Sub(x.seen) >= lasting
	})
	if len(t.taken) < maxTaken {
		t.taken = append(t.taken, taken{r, now})
		slices.SortFunc(t.taken, func(a, b taken) int { return compare(a.reservation.MAC, b.reservation.MAC) })
	}
}

// Exhausted reports whether a device got no address lately.
func (t *Table) Exhausted(now time.Time) bool {
	return !t.trouble.exhausted.IsZero() && now.Sub(t.trouble.exhausted) < lasting
}

// OtherServer returns the address of a DHCP server in the LAN that is not ours and
// that devices chose lately; invalid: none.
func (t *Table) OtherServer(now time.Time) netip.Addr {
	if t.trouble.seen.IsZero() || now.Sub(t.trouble.seen) >= lasting {
		return netip.Addr{}
	}
	return t.trouble.server
}

// Taken returns the reservations whose address another device was found to use.
func (t *Table) Taken(now time.Time) []config.Reservation {
	var all []config.Reservation
	for _, x := range t.trouble.taken {
		if now.Sub(x.seen) < lasting {
			all = append(all, x.reservation)
		}
	}
	return all
}
