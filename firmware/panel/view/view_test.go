package view

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"clinicgate/firmware/panel/day"
	"clinicgate/firmware/panel/phrase"
	"clinicgate/firmware/site"
	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

var now = time.Date(2026, 11, 22, 8, 34, 0, 0, time.UTC)

func before(d time.Duration) time.Time { return now.Add(-d) }

func live[T any](v T) status.Seen[T] { return status.Seen[T]{V: &v, Presence: status.Live} }

// healthy is a clinic on a good morning.
func healthy() status.Box {
	return status.Box{
		Site: site.Identity{Name: "Peñafiel", Code: "ES-VA-047"},
		Init: live(wire.Init{Header: wire.Header{Program: "init", Release: "0.9"}, Booted: before(30 * time.Hour)}),
		Net: live(wire.Net{
			Active: "ISP A",
			Uplinks: []wire.Uplink{
				{Name: "ISP A", State: wire.UplinkUp, Since: before(2 * time.Hour), RTTMS: 8.2},
				{Name: "ISP B", State: wire.UplinkUp, Since: before(26 * time.Hour), RTTMS: 38, LossPct: 1},
			},
			Tunnels: []wire.Tunnel{{Name: "hub", State: wire.TunnelUp}},
		}),
		Pair: live(wire.Failover{Groups: []wire.Group{{Name: "lan", Role: wire.RoleMaster}}}),
		Card: live(wire.Card{
			Readers: []wire.Reader{
				{Name: "Gemalto 00", Room: "consulting-1", State: wire.ReaderSession, Since: before(4 * time.Minute)},
				{Name: "Gemalto 01", State: wire.ReaderFault},
			},
			Sessions: []wire.Session{{ID: "s-1", Role: wire.RoleDoctor, Subject: "Practitioner/4711", Room: "consulting-1", Patient: "secret-pseudonym"}},
		}),
		Sync: live(wire.Sync{
			Lanes:        []wire.Lane{{Name: "stat", Delivered: 3}, {Name: "routine", Delivered: 9}, {Name: "bulk"}},
			Destinations: []wire.Destination{{Name: "hospital", State: "ok"}, {Name: "ehr", State: "unknown"}},
			Cache:        wire.Cache{Resources: 412, Bytes: 1 << 20, LastContact: before(40 * time.Second)},
			Disk:         wire.Disk{Total: 100, Free: 75},
		}),
	}
}

func fault(id string, s wire.Severity) wire.Fault {
	return wire.Fault{ID: id, Severity: s, Where: "w", What: "x", Do: "y", Since: before(4 * time.Minute)}
}

func TestSentence(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(*status.Box)
		colour     Colour
		en, es, sv string
	}{
		"a good morning": {func(*status.Box) {}, Green,
			"Working: Internet by ISP A and ISP B; records up to date; nothing waiting.",
			"Funciona: Internet por ISP A y ISP B; historias al día; nada por enviar.",
			"Fungerar: Internet via ISP A och ISP B; journaler aktuella; inget väntar."},
		"one line down, ECGs wait": {func(b *status.Box) {
			b.Net.V.Uplinks[0].State = wire.UplinkNoLink
			b.Sync.V.Lanes[0] = wire.Lane{Name: "stat", Waiting: 2, Oldest: before(4 * time.Minute)}
		}, Amber,
			"On the back-up line: Internet by ISP B only; records up to date; 2 ECGs waiting, oldest 4 min.",
			"Con la línea de reserva: Internet solo por ISP B; historias al día; 2 ECG en espera, el más antiguo 4 min.",
			"På reservlinjen: Internet endast via ISP B; journaler aktuella; 2 EKG väntar, äldst 4 min."},
		"no line": {func(b *status.Box) {
			b.Net.V.Uplinks[0].State, b.Net.V.Uplinks[1].State = wire.UplinkDown, wire.UplinkCaptive
			b.Sync.V.Cache.LastContact = before(28 * time.Minute)
			b.Sync.V.Lanes = []wire.Lane{{Name: "stat", Waiting: 1, Oldest: before(time.Minute)}, {Name: "bulk", Waiting: 3, Oldest: before(time.Hour)}}
		}, Red,
			"Offline: saving here: No internet; records 28 min old; 1 ECG waiting and 3 files waiting, oldest 1 h.",
			"Sin internet: se guarda aquí: No hay internet; historias de hace 28 min; 1 ECG en espera y 3 archivos en espera, el más antiguo 1 h.",
			"Utan internet: sparar här: Inget internet; journaler 28 min gamla; 1 EKG väntar och 3 filer väntar, äldst 1 tim."},
		"no tunnel": {func(b *status.Box) {
			b.Net.V.Tunnels[0].State = wire.TunnelDown
			b.Sync.V.Cache.LastContact = time.Time{}
		}, Red,
			"Cut off from the hospital: Internet works, but not the connection to the hospital; no records kept yet; nothing waiting.",
			"Sin conexión con el hospital: Hay internet, pero no conexión con el hospital; aún no hay historias guardadas; nada por enviar.",
			"Utan kontakt med sjukhuset: Internet fungerar, men inte förbindelsen till sjukhuset; inga journaler sparade än; inget väntar."},
		"the EHR is away": {func(b *status.Box) {
			b.Sync.V.Faults = []wire.Fault{fault("sync.ehr-unreachable", wire.Warning)}
			b.Sync.V.Cache.LastContact = before(3 * time.Hour)
		}, Amber,
			"Working, with a notice: Internet by ISP A and ISP B; records 3 h old; nothing waiting.",
			"Funciona, con un aviso: Internet por ISP A y ISP B; historias de hace 3 h; nada por enviar.",
			"Fungerar, med en anmärkning: Internet via ISP A och ISP B; journaler 3 tim gamla; inget väntar."},
		"no reader": {func(b *status.Box) { b.Card.V.Faults = []wire.Fault{fault("card.no-reader", wire.Alarm)} }, Red,
			"Needs help: A card reader is missing. Internet by ISP A and ISP B; records up to date; nothing waiting.",
			"Necesita ayuda: Falta un lector de tarjetas. Internet por ISP A y ISP B; historias al día; nada por enviar.",
			"Behöver hjälp: En kortläsare saknas. Internet via ISP A och ISP B; journaler aktuella; inget väntar."},
		"the records' program is dead": {func(b *status.Box) { b.Sync.Presence = status.Dead }, Red,
			"Needs help: A part of the box has stopped. Internet by ISP A and ISP B; records can't be shown; what waits is not known.",
			"Necesita ayuda: Una parte de la pasarela se ha parado. Internet por ISP A y ISP B; las historias no se pueden mostrar; se desconoce lo pendiente.",
			"Behöver hjälp: En del av boxen har stannat. Internet via ISP A och ISP B; journaler kan inte visas; vad som väntar är okänt."},
		"nothing but init": {func(b *status.Box) {
			*b = status.Box{
				Init: b.Init, Net: status.Seen[wire.Net]{Presence: status.Missing}, Pair: status.Seen[wire.Failover]{Presence: status.Missing},
				Card: status.Seen[wire.Card]{Presence: status.Missing}, Sync: status.Seen[wire.Sync]{Presence: status.Missing}, SiteErr: "no file",
			}
		}, Red,
			"Not set up: This box does not know its clinic yet.", "Sin configurar: Esta pasarela aún no tiene los datos de la clínica.",
			"Inte inställd: Den här boxen känner inte sin mottagning än."},
		"the other box serves": {func(b *status.Box) { b.Pair.V.Groups[0].Role = wire.RoleBackup }, Green,
			"Standing by: The other box serves the clinic; this one is ready.", "En reserva: La otra pasarela atiende la clínica; esta está lista.",
			"I beredskap: Den andra boxen betjänar mottagningen; den här är redo."},
	} {
		b := healthy()
		c.change(&b)
		for l, want := range map[phrase.Lang]string{phrase.EN: c.en, phrase.ES: c.es, phrase.SV: c.sv} {
			got := Sentence(b, status.Judge(b), l, now)
			if s := got.State + ": " + got.Sentence; s != want || got.Colour != c.colour {
				t.Errorf("%s:\n got %s %s\nwant %s %s", name, got.Colour, s, c.colour, want)
			}
		}
	}
}

func TestMake(t *testing.T) {
	b := healthy()
	b.Net.V.Uplinks[0].State = wire.UplinkNoLink
	b.Net.V.Faults = []wire.Fault{fault("uplink.no-link", wire.Alarm)}
	b.Sync.V.Lanes[0] = wire.Lane{Name: "stat", Waiting: 2, Bytes: 250000, Oldest: before(4 * time.Minute), Delivered: 5}
	b.Sync.V.Held = 1
	for range 12 {
		b.Pair.V.Faults = append(b.Pair.V.Faults, fault("pair.rogue-"+strings.Repeat("x", len(b.Pair.V.Faults)), wire.Warning))
	}
	var d day.Day
	d.Add(before(time.Hour), []wire.Uplink{{Name: "ISP B", State: wire.UplinkDown}})
	d.Add(now, b.Net.V.Uplinks)
	p := Make(Of{Box: b, Day: &d, Moved: Progress{"stat": 3}, Now: now}, phrase.EN)
	if p.Alarms[0].What != "An internet line is unplugged" || p.Alarms[0].Severity != "Today" || p.Alarms[0].Since != "for 4 min" || !strings.Contains(p.Alarms[0].Tech, "uplink.no-link: w: x - y") {
		t.Errorf("alarm: %+v", p.Alarms[0])
	}
	if len(p.Alarms) != maxAlarms || p.Hidden != "and 6 more" {
		t.Errorf("%d alarms and %q", len(p.Alarms), p.Hidden)
	}
	if got := p.Queue.Lanes[0]; got.Sent != 2 || got.All != 4 || got.Says != "2 of 4 sent · 250 kB waiting · oldest 4 min" {
		t.Errorf("lane: %+v", got)
	}
	if p.Queue.Held == "" || p.Queue.Destinations[0].Mark != "good" || p.Queue.Destinations[1].Says != "ehr: not used yet" {
		t.Errorf("queue: %+v", p.Queue)
	}
	if p.Rooms[0].Says != "logged in: doctor" || p.Rooms[1].Name != "Gemalto 01" || p.Rooms[1].Mark != "bad" {
		t.Errorf("rooms: %+v", p.Rooms)
	}
	if l := p.Lines.Lines; l[0].Mark != "bad" || l[0].Measures != nil || l[1].Plot == "" || !strings.Contains(l[1].Alt, "answers in 38 ms (median), 38 ms at most; out of service 1 min") {
		t.Errorf("lines: %+v", l)
	}
	if len(p.Box) != 4 || p.Box[3].Value != "serves" {
		t.Errorf("box: %+v", p.Box)
	}
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"4711", "secret-pseudonym", "s-1"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the page says %q", secret)
		}
	}
}

// A state that a newer program invents is shown as it is, and breaks nothing; every
// word of today's has its translation.
func TestWords(t *testing.T) {
	b := healthy()
	for _, s := range []string{wire.UplinkUp, wire.UplinkDegraded, wire.UplinkDown, wire.UplinkCaptive, wire.UplinkNoAddress, wire.UplinkNoLink} {
		b.Net.V.Uplinks = append(b.Net.V.Uplinks, wire.Uplink{Name: s, State: s})
	}
	for _, s := range []string{wire.TunnelUp, wire.TunnelDown, wire.TunnelStandby} {
		b.Net.V.Tunnels = append(b.Net.V.Tunnels, wire.Tunnel{State: s})
	}
	for _, s := range []string{wire.ReaderEmpty, wire.ReaderCard, wire.ReaderSession, wire.ReaderFault} {
		b.Card.V.Readers = append(b.Card.V.Readers, wire.Reader{Room: s, State: s})
		b.Card.V.Sessions = append(b.Card.V.Sessions, wire.Session{Room: s})
	}
	for _, s := range []string{wire.RoleNurse, wire.RolePatient, wire.RoleStaff, wire.RoleDoctor} {
		b.Card.V.Readers = append(b.Card.V.Readers, wire.Reader{Room: "of " + s, State: wire.ReaderSession})
		b.Card.V.Sessions = append(b.Card.V.Sessions, wire.Session{Room: "of " + s, Role: s})
	}
	for _, s := range []string{"ok", "unreachable", "refusing", "unknown"} {
		b.Sync.V.Destinations = append(b.Sync.V.Destinations, wire.Destination{Name: "d", State: s})
	}
	b.Card.V.Sessions = b.Card.V.Sessions[5:] // those with a role
	for _, role := range []string{wire.RoleInit, wire.RoleBackup, wire.RoleMaster} {
		b.Pair.V.Groups[0].Role = role
		for _, l := range phrase.Langs {
			p := Make(Of{Box: b, Day: &day.Day{}, Now: now}, l)
			texts(reflect.ValueOf(p), func(s string) {
				for _, kind := range []string{"line.", "tunnel.", "reader.", "role.", "dest.", "lane.", "severity.", "state."} {
					if strings.HasPrefix(s, kind) && !strings.Contains(s, " ") {
						t.Errorf("%s: %q has no words", l, s)
					}
				}
			})
		}
	}
	b.Net.V.Uplinks[0].State = "quantum"
	if p := Make(Of{Box: b, Day: &day.Day{}, Now: now}, phrase.EN); p.Lines.Lines[0].Says != "line.quantum" {
		t.Errorf("got %+v", p.Lines.Lines[0])
	}
}

// texts calls f with every string in v.
func texts(v reflect.Value, f func(string)) {
	switch v.Kind() {
	case reflect.String:
		f(v.String())
	case reflect.Slice:
		for i := range v.Len() {
			texts(v.Index(i), f)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			texts(v.Field(i), f)
		}
	}
}

func TestProgress(t *testing.T) {
	var p Progress
	lane := func(waiting int, delivered uint64) []wire.Lane {
		return []wire.Lane{{Name: "stat", Waiting: waiting, Delivered: delivered}}
	}
	for i, c := range []struct {
		waiting     int
		delivered   uint64
		sent, whole uint64
	}{
		{5, 100, 0, 5}, // the page's program started in the middle
		{3, 102, 2, 5}, {4, 102, 2, 6}, {0, 106, 0, 0}, {2, 106, 0, 2}, {1, 107, 1, 2},
		{1, 3, 0, 1}, // another store
		{-1, 3, 0, 0},
	} {
		l := lane(c.waiting, c.delivered)
		p = p.Note(l)
		if sent, all := p.Of(l[0]); sent != c.sent || all != c.whole {
			t.Errorf("%d: %d of %d, want %d of %d", i, sent, all, c.sent, c.whole)
		}
	}
}
