package status

import (
	"fmt"
	"strings"
	"time"

	"clinicgate/firmware/ascii"
	"clinicgate/firmware/wire"
)

// Groups is one text for each address that the pair's boxes share.
func Groups(b Box, now time.Time) []string {
	if b.Pair.V == nil || b.Pair.V.Groups == nil {
		return []string{because("failoverd", b.Pair.Presence, head(b.Pair.V))}
	}
	var rows []string
	for _, g := range b.Pair.V.Groups {
		rows = append(rows, ascii.Text(fmt.Sprintf("%s%s %s %s for %s: %s", past(b.Pair.Presence), g.Name, strings.ToUpper(g.Role),
			list(g.Addresses), ascii.Age(g.Since, now), g.Reason)))
	}
	return rows
}

// Cards tells of rooms and roles; who the card's holder is stays out of it.
func Cards(b Box, now time.Time) string {
	if b.Card.V == nil || b.Card.V.Readers == nil {
		return because("cardauth", b.Card.Presence, head(b.Card.V))
	}
	var rooms []string
	for _, r := range b.Card.V.Readers {
		name := r.Room
		if name == "" {
			name = r.Name
		}
		text := fmt.Sprintf("%s %s %s", name, r.State, ascii.Age(r.Since, now))
		for _, session := range b.Card.V.Sessions {
			if session.Room == r.Room && r.State == wire.ReaderSession {
				text += " (" + session.Role + ")"
			}
		}
		rooms = append(rooms, text)
	}
	if len(rooms) == 0 {
		rooms = []string{"no card reader"}
	}
	return ascii.Text(past(b.Card.Presence) + strings.Join(rooms, "; "))
}

// Partners tells of those to whom uploads go; empty when there are none.
func Partners(b Box, now time.Time) string {
	if b.Sync.V == nil {
		return ""
	}
	var partners []string
	for _, d := range b.Sync.V.Destinations {
		text := d.Name + " " + d.State
		if d.Reason != "" {
			text += fmt.Sprintf(" for %s: %s", ascii.Age(d.Since, now), d.Reason)
		}
		partners = append(partners, text)
	}
	return ascii.Text(strings.Join(partners, "; "))
}

// Records tells how old what doctors are shown may be, and of the disk it is on.
func Records(b Box, now time.Time) string {
	if b.Sync.V == nil {
		return because("syncd", b.Sync.Presence, head(b.Sync.V))
	}
	y := b.Sync.V
	text := fmt.Sprintf("%d kept (%s), EHR answered %s", y.Cache.Resources, ascii.Size(y.Cache.Bytes), ascii.Ago(y.Cache.LastContact, now))
	if y.Disk.Total > 0 {
		text += fmt.Sprintf("; disk %d%% free", 100*y.Disk.Free/y.Disk.Total)
	}
	if kind, _, _ := strings.Cut(y.Keys, ":"); kind != "" {
		text += "; keys " + kind
	}
	return ascii.Text(text)
}

// Mirror says whether uploads are on two disks; empty where there is one box.
func Mirror(b Box, now time.Time) string {
	if b.Sync.V == nil || b.Sync.V.Mirror == nil {
		return ""
	}
	m := b.Sync.V.Mirror
	switch {
	case !m.Alive:
		return ascii.Text(fmt.Sprintf("LOST for %s, %d uploads are on this disk alone: %s", ascii.Age(m.Since, now), m.Behind, m.Reason))
	case m.Behind > 0:
		return fmt.Sprintf("the other box lacks %d, for %s", m.Behind, ascii.Age(m.Oldest, now))
	}
	return fmt.Sprintf("the other box has every upload, %d ms behind", m.LagMS)
}

// Silent says why there is nothing to show of a program, by what was found of it.
func Silent[T any, P interface {
	*T
	Head() *wire.Header
}](name string, seen Seen[T]) string {
	return because(name, seen.Presence, head[T, P](seen.V))
}

// Past says "(as it was) " of a program that is gone.
func Past(p Presence) string { return past(p) }
