// Package rollout decides from what boxes report whether a release may go on to
// further boxes. A halt is never lifted here: that takes a person.
package rollout

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"clinicgate/firmware/release"
)

// Report is what one box says of itself, whole each time: the newest one counts.
type Report struct {
	V       int       `json:"v"` // 1
	Code    string    `json:"code"`
	Board   string    `json:"board"`
	Ring    string    `json:"ring"`
	Runs    string    `json:"runs"`              // release that has proven itself there
	Trial   string    `json:"trial,omitempty"`   // release under way
	Refused []Failure `json:"refused,omitempty"` // failed there
}

// Failure is a release that did not prove itself on a box.
type Failure struct {
	Version string `json:"version"`
	Why     string `json:"why"` // what it did, "does not bring up syncd: backoff"
}

// Bounds of a report.
const (
	MaxReport  = 16 << 10 // bytes
	maxRefused = 32
	maxWhy     = 300
)

// Parse reads a report, which anybody may have written.
func Parse(text []byte) (Report, error) {
	var r Report
	if len(text) > MaxReport {
		return r, fmt.Errorf("report: got %d bytes, want %d at most", len(text), MaxReport)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("report: %w", err)
	}
	if r.V != 1 {
		return r, fmt.Errorf("report: got version %d, want 1", r.V)
	}
	names := [][2]string{{"code", r.Code}, {"board", r.Board}, {"ring", r.Ring}, {"runs", r.Runs}}
	if r.Trial != "" {
		names = append(names, [2]string{"trial", r.Trial})
	}
	if len(r.Refused) > maxRefused {
		return r, fmt.Errorf("report: got %d releases refused, want %d at most", len(r.Refused), maxRefused)
	}
	for i := range r.Refused {
		names = append(names, [2]string{"refused", r.Refused[i].Version})
		r.Refused[i].Why = plain(r.Refused[i].Why)
	}
	for _, n := range names {
		if err := release.Name("report: "+n[0], n[1]); err != nil {
			return r, err
		}
	}
	return r, nil
}

// plain is text that can't do anything to a terminal, and not too much of it.
func plain(text string) string {
	text = strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, text)
	return text[:min(len(text), maxWhy)]
}

// Count is how a release fares in a ring.
type Count struct {
	Runs   int      `json:"runs"`  // boxes on which it has proven itself
	Trial  int      `json:"trial"` // on which it is being tried
	Failed int      `json:"failed"`
	Why    []string `json:"why,omitempty"` // "ES-VA-047: does not bring up syncd", sorted, a few
}

// maxNamed is how many boxes a count names.
const maxNamed = 5

// Tally counts a release in one board's ring.
func Tally(reports []Report, board, ring, version string) Count {
	var c Count
	for _, r := range reports {
		if r.Board != board || r.Ring != ring {
			continue
		}
		failed := slices.IndexFunc(r.Refused, func(f Failure) bool { return f.Version == version })
		switch {
		case r.Runs == version:
			c.Runs++
		case failed >= 0:
			c.Failed++
			c.Why = append(c.Why, r.Code+": "+r.Refused[failed].Why)
		case r.Trial == version:
			c.Trial++
		}
	}
	slices.Sort(c.Why)
	c.Why = c.Why[:min(len(c.Why), maxNamed)]
	return c
}

// Limit is how many failures a rollout bears.
type Limit struct {
	Boxes   int // fewer failures than this never halt it: one box may be broken itself
	Percent int // of the boxes with a verdict
}

// Halt says why a rollout ends here; "": it goes on.
func (l Limit) Halt(c Count) string {
	verdicts := c.Runs + c.Failed
	if c.Failed < max(l.Boxes, 1) || c.Failed*100 < l.Percent*verdicts {
		return ""
	}
	return fmt.Sprintf("failed on %d of %d boxes; %s", c.Failed, verdicts, strings.Join(c.Why, "; "))
}
