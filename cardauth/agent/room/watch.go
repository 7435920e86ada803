package room

import (
	"context"
	"strings"
	"time"

	"clinicgate/cardauth/agent/frame"
	"clinicgate/cardauth/pcsc"
)

// again is the pause before PC/SC is tried once more.
const again = time.Second

// watch tells the gateway about the reader until ctx ends; PC/SC may come and go.
func (d *desk) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := d.Readers.Watch(ctx, func(all []pcsc.State) { d.saw(d.pick(all)) })
		if ctx.Err() != nil {
			return
		}
		d.Log.Warn("no card readers", "err", err)
		d.saw(frame.Reader{})
		select {
		case <-time.After(again):
		case <-ctx.Done():
		}
	}
}

// pick is the one reader this workstation serves.
func (d *desk) pick(all []pcsc.State) frame.Reader {
	for _, s := range all {
		if strings.HasPrefix(s.Reader, d.Only) {
			return frame.Reader{Name: s.Reader, Card: s.Card, Mute: s.Mute, Events: s.Events}
		}
	}
	return frame.Reader{}
}

func (d *desk) saw(r frame.Reader) {
	d.mu.Lock()
	if d.stop != nil && (!r.Card || r.Events != d.now.Events) {
		d.stop()
	}
	d.now = r
	d.mu.Unlock()
	d.line.send(frame.Answer{Reader: &r})
}
