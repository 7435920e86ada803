package view

import "clinicgate/firmware/wire"

// Progress remembers, of each lane, how much had been delivered when last nothing
// waited: how far the uploads of now have come is counted from there.
type Progress map[string]uint64

// Note takes a look at the lanes and returns what is to be remembered.
func (p Progress) Note(lanes []wire.Lane) Progress {
	next := Progress{}
	for _, l := range lanes {
		from, known := p[l.Name]
		if !known || l.Waiting == 0 || l.Delivered < from { // a new store counts from 0
			from = l.Delivered
		}
		next[l.Name] = from
	}
	return next
}

// Of is how many of a lane's uploads of now are sent, and of how many.
func (p Progress) Of(l wire.Lane) (sent, all uint64) {
	if from, known := p[l.Name]; known && l.Delivered >= from {
		sent = l.Delivered - from
	}
	return sent, sent + uint64(max(l.Waiting, 0))
}
