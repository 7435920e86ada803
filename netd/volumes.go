package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"clinicgate/firmware/durable"
	"clinicgate/netd/link"
	"clinicgate/netd/volume"
)

// volumes counts what each uplink carries in its month, and remembers it. It
// belongs to the loop.
type volumes struct {
	path  string
	boot  string
	all   map[string]volume.Record // by the uplink's name
	saved map[string]volume.Record
	when  time.Time
}

// A record is written a minute after the last time at most, and only when it is by
// so many bytes behind, or by an hour: flash wears. Stop in between: what passed
// since the last write is counted by the next netd, unless the box stops as well.
const (
	saveEvery  = time.Minute
	saveBytes  = 1 << 20
	saveAlways = time.Hour
	maxVolumes = 64 << 10
)

func openVolumes(path string) (*volumes, error) {
	v := &volumes{path: path, all: map[string]volume.Record{}, saved: map[string]volume.Record{}}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return v, fmt.Errorf("read boot id: %w", err)
	}
	v.boot = strings.TrimSpace(string(id))
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return v, fmt.Errorf("read volumes: %w", err)
	}
	defer f.Close()
	if err := json.NewDecoder(io.LimitReader(f, maxVolumes)).Decode(&v.all); err != nil {
		v.all = map[string]volume.Record{}
		return v, fmt.Errorf("read volumes %s: %w", path, err)
	}
	for name, r := range v.all {
		v.saved[name] = r
	}
	return v, nil
}

// count takes in an uplink's port.
func (v *volumes) count(name string, l link.State, day int, now time.Time) volume.Record {
	if l.Index != 0 {
		v.all[name] = v.all[name].Count(l.Rx+l.Tx, l.Index, v.boot, day, now)
	}
	return v.all[name]
}

// keep writes the records when it is time to; always means now, if they changed.
func (v *volumes) keep(now time.Time, always bool) error {
	behind := false
	for name, r := range v.all {
		old := v.saved[name]
		behind = behind || r.Bytes-old.Bytes >= saveBytes || !r.Since.Equal(old.Since) || always && r != old
	}
	if !always && (now.Sub(v.when) < saveEvery || !behind && now.Sub(v.when) < saveAlways) {
		return nil
	}
	v.when = now
	if !behind && always {
		return nil
	}
	data, err := json.MarshalIndent(v.all, "", "  ")
	if err != nil {
		return fmt.Errorf("store volumes: %w", err)
	}
	if err := durable.WriteFile(v.path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("store volumes: %w", err)
	}
	for name, r := range v.all {
		v.saved[name] = r
	}
	return nil
}

// meter takes in the port's counters once a second.
func (u *uplinkHands) meter(l link.State, now time.Time) {
	u.month = u.b.volumes.count(u.cfg.Name, l, u.cfg.CapDay, now)
	took := now.Sub(u.metered).Seconds()
	same := l.Index == u.counted.Index && l.Rx >= u.counted.Rx && l.Tx >= u.counted.Tx
	if same && l.Index != 0 && took > 0 && took < 10 {
		u.rx += (float64(l.Rx-u.counted.Rx)*8/took - u.rx) / 4
		u.tx += (float64(l.Tx-u.counted.Tx)*8/took - u.tx) / 4
	} else {
		u.rx, u.tx = 0, 0
	}
	u.counted, u.metered = l, now
}

// spent reports whether the uplink's cap is so far used up that it is a last resort.
func (u *uplinkHands) spent() bool { return volume.Spent(u.month.Bytes, u.cfg.Cap) }
