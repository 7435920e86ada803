package screen

import (
	"strings"
	"time"

	"clinicgate/firmware/status"
	"clinicgate/firmware/wire"
)

// A spark is a measure's last while, a character for each part of it.
const (
	parts   = 8
	partFor = 10 * time.Second
)

// maxKnown bounds the lines and lanes that are remembered: wire files are another
// program's words.
const maxKnown = 16

// A track is a measure's greatest values in the last parts; what nobody measured
// is negative.
type track [parts]float64

// history is what the console itself has seen go by.
type history struct {
	lines map[string]*lineHistory
	lanes map[string]laneHistory
	began time.Time // of the newest part
}

type lineHistory struct{ rtt, loss, rate track }

func newLine() *lineHistory {
	l := &lineHistory{}
	for i := range l.rtt {
		l.rtt[i], l.loss[i], l.rate[i] = -1, -1, -1
	}
	return l
}

// laneHistory is where a lane's backlog began: how many had been delivered when
// nothing waited last.
type laneHistory struct{ base uint64 }

// note remembers what is seen now.
func (h *history) note(b status.Box, now time.Time) {
	if h.lines == nil {
		h.lines, h.lanes = map[string]*lineHistory{}, map[string]laneHistory{}
	}
	h.shift(now)
	if b.Net.Presence == status.Live {
		for _, u := range b.Net.V.Uplinks {
			h.line(u)
		}
	}
	if b.Sync.Presence == status.Live {
		for _, l := range b.Sync.V.Lanes {
			h.lane(l)
		}
	}
}

// shift begins new parts, as the time asks for; a clock that was set begins one.
func (h *history) shift(now time.Time) {
	gone := now.Sub(h.began)
	n := int(min(gone/partFor, parts))
	if gone < 0 || h.began.IsZero() {
		n = 1
	}
	if n == 0 {
		return
	}
	h.began = now
	for _, l := range h.lines {
		for range n {
			l.rtt.shift()
			l.loss.shift()
			l.rate.shift()
		}
	}
}

func (t *track) shift() {
	copy(t[:], t[1:])
	t[parts-1] = -1
}

func (t *track) note(v float64) { t[parts-1] = max(t[parts-1], v) }

func (h *history) line(u wire.Uplink) {
	l := h.lines[u.Name]
	if l == nil {
		if len(h.lines) >= maxKnown {
			return
		}
		l = newLine()
		h.lines[u.Name] = l
	}
	if u.RTTMS > 0 {
		l.rtt.note(u.RTTMS)
	}
	if u.State != wire.UplinkNoLink {
		l.loss.note(u.LossPct)
		l.rate.note(u.RxBPS + u.TxBPS)
	}
}

func (h *history) lane(l wire.Lane) {
	old, known := h.lanes[l.Name]
	if !known && len(h.lanes) >= maxKnown {
		return
	}
	if l.Waiting == 0 || !known || l.Delivered < old.base {
		h.lanes[l.Name] = laneHistory{base: l.Delivered}
	}
}

// sent says how many of a lane's present backlog have gone, of how many.
func (h *history) sent(l wire.Lane) (done, of uint64) {
	if base := h.lanes[l.Name].base; l.Delivered > base {
		done = l.Delivered - base
	}
	return done, done + uint64(max(l.Waiting, 0))
}

// levels of a spark, from nothing to the most.
const levels = "_.:-=+*#"

// spark draws a track against a full scale that is at least so much.
func (t track) spark(full float64) string {
	for _, v := range t {
		full = max(full, v)
	}
	var b strings.Builder
	for _, v := range t {
		switch {
		case v < 0:
			b.WriteByte(' ')
		case v == 0:
			b.WriteByte(levels[0])
		default:
			b.WriteByte(levels[min(len(levels)-1, 1+int(v/full*float64(len(levels)-2)+0.5))])
		}
	}
	return b.String()
}

// bar draws how much of something is done, in that many characters.
func bar(done, of uint64, width int) string {
	if of == 0 {
		return ""
	}
	n := int(float64(min(done, of)) / float64(of) * float64(width))
	return "[" + strings.Repeat("#", n) + strings.Repeat("-", width-n) + "]"
}
