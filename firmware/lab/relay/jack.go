package relay

import (
	"io"
	"sync"
)

// Jack is an end whose device may be replaced while the cable hangs in it: a box
// that loses its power takes its devices with it and comes back with new ones.
// Frames for an empty jack are lost.
type Jack struct {
	mu      sync.Mutex
	changed *sync.Cond
	end     End // nil: empty
	closed  bool
}

// NewJack returns an empty jack.
func NewJack() *Jack {
	j := &Jack{}
	j.changed = sync.NewCond(&j.mu)
	return j
}

// Plug puts a device in; one that is in already is closed first.
func (j *Jack) Plug(end End) {
	j.Unplug()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.end = end
	j.changed.Broadcast()
}

// Unplug closes the device that is in, if any.
func (j *Jack) Unplug() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.end != nil {
		j.end.Close() // a device that doesn't close is gone with its namespace
		j.end = nil
	}
}

// ReadFrame waits for a device and for a frame of it.
func (j *Jack) ReadFrame(buf []byte) (int, error) {
	var dead End
	for {
		end, err := j.wait(dead)
		if err != nil {
			return 0, err
		}
		if n, err := end.ReadFrame(buf); err == nil {
			return n, nil
		}
		dead = end
	}
}

// wait returns the device that is in, unless it is the one known to be dead.
func (j *Jack) wait(dead End) (End, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for !j.closed && (j.end == nil || j.end == dead) {
		j.changed.Wait()
	}
	if j.closed {
		return nil, io.EOF
	}
	return j.end, nil
}

// WriteFrame gives the frame to the device that is in.
func (j *Jack) WriteFrame(frame []byte) error {
	j.mu.Lock()
	end := j.end
	j.mu.Unlock()
	if end == nil {
		return io.ErrClosedPipe
	}
	return end.WriteFrame(frame)
}

// Close unplugs the device for good.
func (j *Jack) Close() error {
	j.Unplug()
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	j.changed.Broadcast()
	return nil
}
