package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"clinicgate/failoverd/accord"
	"clinicgate/failoverd/flowsync"
	"clinicgate/failoverd/vrrp"
	"clinicgate/firmware/daemon"
	"clinicgate/firmware/durable"
	"clinicgate/firmware/wire"
)

// Times of a handover.
const (
	answerTime = 3 * time.Second        // for the other box's yes or no
	claimTime  = 900 * time.Millisecond // for our own claims: less than the router waits
	mostLag    = time.Second            // the other box may be behind by
)

// faultAside is a box that a person has set aside.
const faultAside = "pair.aside"

// asideFile, in the state folder, keeps a box aside over its restarts.
const asideFile = "aside"

// A handover moves the addresses to the other box on demand. The boxes agree over
// the cable between them: the new master claims first, with the connections in
// place, and the old one lets go when it hears of that. When an answer is lost
// the new one gives way after a second: never has nobody the addresses.
type handover struct {
	env    *daemon.Env
	log    *slog.Logger
	copy   *flowsync.Sync // nil: there is no cable
	ident  *identity
	groups []*group

	mu      sync.Mutex // held while this box hands over: one at a time
	waiting struct {
		sync.Mutex
		id     uint64
		answer chan accord.Note
	}
}

// errUnfit is wrapped by every reason not to hand over: nothing has changed.
var errUnfit = errors.New("not handed over")

// result is what a caller is told.
type result struct {
	V    int    `json:"v"`    // 1
	To   string `json:"to"`   // the other box
	MS   int64  `json:"ms"`   // from the question to letting go
	Hold bool   `json:"hold"` // stands aside over restarts
}

// give hands over. On an error nothing has changed, unless it says otherwise.
func (h *handover) give(ctx context.Context, hold bool) (result, error) {
	if !h.mu.TryLock() {
		return result{}, fmt.Errorf("%w: another handover is under way", errUnfit)
	}
	defer h.mu.Unlock()
	if h.copy == nil {
		return result{}, fmt.Errorf("%w: there is no cable to another box ([pair.flows])", errUnfit)
	}
	if err := h.able(ctx); err != nil {
		return result{}, err
	}
	if hold { // Stop here: this box comes back aside, as it was asked to.
		if err := durable.WriteFile(h.path(), nil, 0o600); err != nil {
			return result{}, fmt.Errorf("remember to stand aside: %w", err)
		}
	}
	began := time.Now()
	if err := h.ask(ctx); err != nil {
		h.back()
		return result{}, err
	}
	// The other box has the addresses: whoever asked may be gone, this goes on.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTime)
	defer cancel()
	peer := h.copy.Peer().String()
	for _, g := range h.groups {
		g.order(ctx, func() { g.step(vrrp.Yield{Reason: "handed over to " + peer}) })
	}
	h.state("handed over to " + peer)
	res := result{V: 1, To: peer, MS: time.Since(began).Milliseconds(), Hold: hold}
	h.log.Info("handed over", "to", peer, "ms", res.MS, "hold", hold)
	return res, nil
}

// able reports whether there is something to hand over, and to whom.
func (h *handover) able(ctx context.Context) error {
	masters := 0
	for _, g := range h.groups {
		g.order(ctx, func() {
			if g.router.Status().State == vrrp.Active && g.passage == nil {
				masters++
			}
		})
	}
	st := h.copy.Status()
	switch {
	case masters == 0:
		return fmt.Errorf("%w: this box has no addresses to hand over", errUnfit)
	case !st.Telling || !st.Told:
		return fmt.Errorf("%w: the other box is out of reach: %v", errUnfit, st.Err)
	case st.Lag > mostLag:
		return fmt.Errorf("%w: the other box is %v behind", errUnfit, st.Lag.Round(time.Millisecond))
	}
	return nil
}

// ask asks the other box to claim the addresses; nil: it has.
func (h *handover) ask(ctx context.Context) error {
	w := &h.waiting
	answer := make(chan accord.Note, 1)
	w.Lock()
	w.id, w.answer = rand.Uint64(), answer
	id := w.id
	w.Unlock()
	if err := h.copy.Say(accord.Note{Kind: accord.Take, ID: id}.String()); err != nil {
		return fmt.Errorf("%w: %w", errUnfit, err)
	}
	select {
	case a := <-answer:
		if a.Kind == accord.Refuse {
			return fmt.Errorf("%w: the other box: %s", errUnfit, a.Why)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnfit, ctx.Err())
	case <-time.After(answerTime):
		return fmt.Errorf("%w: the other box did not answer within %v", errUnfit, answerTime)
	}
}

// answered is the other box's Taken or Refuse. One that comes late is nobody's.
func (h *handover) answered(n accord.Note) {
	h.waiting.Lock()
	defer h.waiting.Unlock()
	if h.waiting.answer != nil && n.ID == h.waiting.id {
		h.waiting.answer <- n
		h.waiting.answer = nil
	}
}

// take is the other box's question: claim, and say so.
func (h *handover) take(ctx context.Context, n accord.Note) {
	ctx, cancel := context.WithTimeout(ctx, claimTime)
	defer cancel()
	reply := accord.Note{Kind: accord.Taken, ID: n.ID}
	if why := h.claimAll(ctx); why != "" {
		reply = accord.Note{Kind: accord.Refuse, ID: n.ID, Why: why}
	} else {
		h.back()
	}
	h.log.Info("asked to take over", "answer", reply.Kind, "why", reply.Why)
	if err := h.copy.Say(reply.String()); err != nil {
		h.log.Warn("answer the other box", "err", err)
	}
}

// claimAll returns why this box can't have the addresses; empty: it has them.
func (h *handover) claimAll(ctx context.Context) (why string) {
	for _, g := range h.groups {
		done := g.order(ctx, func() {
			if st := g.router.Status(); why == "" && st.State == vrrp.Initialize {
				why = fmt.Sprintf("group %s: %s", g.cfg.Name, st.Reason)
			}
		})
		if !done {
			return "it is busy"
		}
	}
	if why != "" {
		return why
	}
	from := h.copy.Peer()
	for _, g := range h.groups {
		g.order(ctx, func() { g.step(vrrp.Take{Reason: from.String() + " handed over"}) })
	}
	for _, g := range h.groups {
		for has := false; !has; {
			done := g.order(ctx, func() { has = g.router.Status().State == vrrp.Active && g.passage == nil })
			if !done {
				return fmt.Sprintf("group %s could not claim its addresses in time", g.cfg.Name)
			}
			if !has {
				time.Sleep(time.Millisecond)
			}
		}
	}
	return ""
}

// release ends the standing aside.
func (h *handover) release(ctx context.Context) {
	for _, g := range h.groups {
		g.order(ctx, func() { g.step(vrrp.Aside{}) })
	}
	h.back()
}

// back forgets that this box was to stand aside.
func (h *handover) back() {
	h.env.Faults.Clear(faultAside, "pair")
	err := os.Remove(h.path())
	if err == nil {
		err = durable.SyncDir(h.env.State)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.log.Error("forget to stand aside", "err", err)
	}
}

func (h *handover) path() string { return filepath.Join(h.env.State, asideFile) }

// state tells people that this box stands aside on purpose.
func (h *handover) state(why string) {
	h.env.Faults.Raise(wire.Fault{
		ID: faultAside, Severity: wire.Note, Where: "pair", What: "this box stands aside: " + why,
		Do: "gatectl pair release, when it is to take part as before; without the other box it works all the same",
	})
}

// hear does what the other box asks for.
func (h *handover) hear(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case text := <-h.copy.Noted():
			n, err := accord.Parse(text)
			if err != nil {
				h.log.Warn("the other box", "err", err)
				continue
			}
			switch n.Kind {
			case accord.Take:
				h.take(ctx, n)
			case accord.Taken, accord.Refuse:
				h.answered(n)
			default:
				if h.ident != nil {
					h.ident.hear(n)
				}
			}
		}
	}
}

// resume sets a box aside that was to stay so over restarts.
func (h *handover) resume() {
	if _, err := os.Stat(h.path()); err != nil {
		return
	}
	for _, g := range h.groups {
		g.router.Step(time.Now(), vrrp.Aside{On: true}) // nobody runs yet
	}
	h.state("for maintenance")
}

// serve adds what can be asked over the control socket.
func (h *handover) serve(mux *http.ServeMux) {
	mux.HandleFunc("POST /handover", func(w http.ResponseWriter, r *http.Request) {
		res, err := h.give(r.Context(), r.URL.Query().Get("hold") == "1")
		if err != nil {
			code := http.StatusInternalServerError
			if errors.Is(err, errUnfit) {
				code = http.StatusConflict
			}
			http.Error(w, err.Error(), code)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(res) // a caller that hung up
	})
	mux.HandleFunc("POST /release", func(w http.ResponseWriter, r *http.Request) {
		h.release(r.Context())
		w.WriteHeader(http.StatusNoContent)
	})
}
