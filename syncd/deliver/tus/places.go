package tus

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"sync"

	"clinicgate/firmware/durable"
)

// Places remembers where uploads have begun, in one file. Forgetting is safe: an
// upload then begins anew. Safe for concurrent use.
type Places struct {
	path string

	mu  sync.Mutex
	all map[string]string
}

// maxPlaces bounds what is remembered; one goes for each that comes beyond.
const maxPlaces = 1024

// OpenPlaces reads the file at path; one that is not there or can't be read is
// empty.
func OpenPlaces(path string) *Places {
	p := &Places{path: path, all: map[string]string{}}
	if text, err := os.ReadFile(path); err != nil || json.Unmarshal(text, &p.all) != nil || p.all == nil {
		p.all = map[string]string{}
	}
	return p
}

// Get is where an upload began; empty: nowhere.
func (p *Places) Get(key string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[key]
}

// Put remembers durably where an upload began.
//
//	stop before it returns: it may be forgotten, and the upload begins anew
func (p *Places) Put(key, place string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for old := range p.all {
		if len(p.all) < maxPlaces {
			break
		}
		delete(p.all, old)
	}
	now := maps.Clone(p.all)
	now[key] = place
	text, err := json.Marshal(now)
	if err == nil {
		err = durable.WriteFile(p.path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("places of uploads: %w", err)
	}
	p.all = now
	return nil
}

// Drop forgets an upload that is over, with the next Put for good.
func (p *Places) Drop(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, key)
}
