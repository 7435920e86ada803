// Package progress remembers how far deliveries have come, for destinations whose
// protocol goes on in the middle. Its one guarantee: what Put returned for is told
// after any stop, until so many others were put that it is the oldest.
//
// Forgetting is safe for an item and costs only what is sent again.
package progress

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"sync"

	"clinicgate/firmware/durable"
)

// most is how many deliveries are remembered. Nothing is removed when a delivery is
// over: should the queue fail to note that it is, the next attempt still finds it.
const most = 256

// A File remembers deliveries of one destination. Safe for concurrent use.
type File struct {
	path string

	mu  sync.Mutex
	all []note // the one put last at the end
}

type note struct {
	Key string `json:"key"`
	At  string `json:"at"`
}

// Open reads the file at path; one that is not there or can't be read is empty.
func Open(path string) *File {
	f := &File{path: path}
	if text, err := os.ReadFile(path); err != nil || json.Unmarshal(text, &f.all) != nil {
		f.all = nil
	}
	return f
}

// Get is how far a delivery has come; empty: nothing is known.
func (f *File) Get(key string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := f.find(key); i >= 0 {
		return f.all[i].At
	}
	return ""
}

func (f *File) find(key string) int {
	return slices.IndexFunc(f.all, func(n note) bool { return n.Key == key })
}

// Put remembers durably how far a delivery has come.
//
//	stop before it returns: what was put before may be told
func (f *File) Put(key, at string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := slices.Clone(f.all)
	if i := f.find(key); i >= 0 {
		now = slices.Delete(now, i, i+1)
	}
	now = append(now, note{key, at})
	now = now[max(0, len(now)-most):]
	text, err := json.Marshal(now)
	if err == nil {
		err = durable.WriteFile(f.path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("progress of deliveries: %w", err)
	}
	f.all = now
	return nil
}
