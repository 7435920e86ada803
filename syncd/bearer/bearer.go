// Package bearer is the gateway's own access to the EHR: SMART Backend Services,
// that is OAuth 2 client credentials proven by a signed assertion (RFC 7523). Its
// one guarantee: what goes to the EHR carries a token that had not expired, what
// goes anywhere else carries none, and the key that proves us never leaves the box.
//
// A token is renewed before it expires, beside the requests that still use it. One
// that the EHR refuses nevertheless is renewed once for the request it came with.
package bearer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"clinicgate/syncd/lane"
)

// Options of a source. All but TokenURL are required.
type Options struct {
	Base     *url.URL // of the EHR, without a trailing slash
	TokenURL string   // "": as the EHR's .well-known/smart-configuration says
	ClientID string   // as the EHR has registered us
	Scope    string
	Key      *Key
	HTTP     *http.Client // asks for tokens; must not follow redirects
}

// Source has the token. Safe for concurrent use.
type Source struct {
	o Options

	mu     sync.Mutex
	held   held
	place  string        // of the token endpoint, as the EHR said last
	asking chan struct{} // closed when the question in flight is answered; nil: none is
	err    error         // how the last question ended
	fails  int           // in a row
	again  time.Time     // not to be asked before
}

// New returns a source that has no token yet.
func New(o Options) *Source { return &Source{o: o, place: o.TokenURL} }

// Errors that callers tell apart.
var (
	// ErrRefused: the token endpoint works and does not let us in.
	ErrRefused = errors.New("the EHR's token endpoint refuses this gateway")
	// ErrSilent: no token could be asked for.
	ErrSilent = errors.New("the EHR's token endpoint does not answer")
)

// Pauses after a refusal, and after no answer: the line may be back any moment.
const (
	refusedFirst = 2 * time.Second
	refusedMost  = time.Minute
	silentPause  = time.Second
)

// within bounds one question for a token, whoever waits for it.
const within = 10 * time.Second

// Token returns a token that holds now. A caller whose ctx ends leaves the question
// to those who wait for it too.
func (s *Source) Token(ctx context.Context) (string, error) {
	for {
		s.mu.Lock()
		now := time.Now()
		use, renew := s.held.judge(now)
		if renew && s.asking == nil && !now.Before(s.again) {
			s.asking = make(chan struct{})
			go s.ask(s.asking)
		}
		token, asking, err := s.held.text, s.asking, s.err
		s.mu.Unlock()
		switch {
		case use:
			return token, nil
		case asking == nil:
			return "", err // a short while ago
		}
		select {
		case <-asking:
			s.mu.Lock()
			use, _ = s.held.judge(time.Now())
			err = s.err
			s.mu.Unlock()
			if !use && err != nil {
				return "", err
			}
		case <-ctx.Done():
			return "", fmt.Errorf("%w: %w", ErrSilent, ctx.Err())
		}
	}
}

// Renounce says that the EHR did not take this token. One that came since stays.
func (s *Source) Renounce(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held.text == token {
		s.held = held{}
	}
}

// ask asks once and lets those who wait go on.
func (s *Source) ask(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	s.mu.Lock()
	place := s.place
	s.mu.Unlock()
	at := time.Now() // the token's life is counted from before it was given
	got, place, err := s.o.grant(ctx, place)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(done)
	s.asking, s.err, s.place = nil, err, place
	if err == nil {
		s.held, s.fails, s.again = hold(got, at, rand.Float64()), 0, time.Time{}
		return
	}
	s.place = s.o.TokenURL // it may have moved
	s.fails++
	pause := silentPause
	if errors.Is(err, ErrRefused) {
		pause = lane.Pause(refusedFirst, refusedMost, s.fails, rand.Float64())
	}
	s.again = time.Now().Add(pause)
}

// Status is for people: until when there is a token, zero without one, and how the
// last question for one ended.
func (s *Source) Status(now time.Time) (until time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if use, _ := s.held.judge(now); use {
		until = s.held.until
	}
	return until, s.err
}

// held is a token and its times.
type held struct {
	text         string
	renew, until time.Time
}

// Of a token's life: the last tenth, at most so long, is not used, since a request
// takes its time and clocks differ; in the fifth before the end it is renewed.
const (
	slackPart, slackMost = 10, 30 * time.Second
	renewPart            = 5
)

// hold is a token asked for at a time. jitter in [0, 1) moves the renewal, so that
// boxes that started together don't ask together.
func hold(t token, at time.Time, jitter float64) held {
	slack := min(t.life/slackPart, slackMost)
	early := t.life / renewPart
	early += time.Duration(jitter * float64(early) / 2)
	return held{text: t.text, renew: at.Add(t.life - early), until: at.Add(t.life - slack)}
}

// judge says whether the token may be used, and whether another is wanted.
func (h held) judge(now time.Time) (use, renew bool) {
	use = h.text != "" && now.Before(h.until)
	return use, !use || !now.Before(h.renew)
}
