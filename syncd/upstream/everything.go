package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"

	"clinicgate/syncd/fhir"
)

// atOnce is how many types are asked for at once when an EHR has no $everything.
const atOnce = 4

// everything asks for all of a patient: in one question where the EHR knows it, and
// otherwise type by type.
func (c *Client) everything(ctx context.Context, in *intake, e fhir.Everything) (fhir.Answer, error) {
	c.mu.Lock()
	piece := c.piece
	c.mu.Unlock()
	if !piece {
		a, err := c.search(ctx, in, e)
		if !unknown(err) {
			return a, err
		}
	}
	a, err := c.pieces(ctx, in, e)
	if err == nil && !piece {
		c.mu.Lock()
		c.piece = true // the patient is there, so it was the question that was not known
		c.mu.Unlock()
	}
	return a, err
}

// unknown says whether a refusal may be of the question rather than of its subject.
func unknown(err error) bool {
	var no *fhir.Refusal
	return errors.As(err, &no) && slices.Contains([]int{http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusForbidden}, no.Status)
}

// pieces asks for the patient and for each type that can be searched. A type that
// the EHR does not know is left out. The answer is as old as its oldest part.
func (c *Client) pieces(ctx context.Context, in *intake, e fhir.Everything) (fhir.Answer, error) {
	a, err := c.read(ctx, in, e.Patient, fhir.Envelope{Ref: e.Patient}, "")
	if err != nil {
		return fhir.Answer{}, err
	}
	var all []json.RawMessage
	if e.Wants("Patient") {
		all = append(all, fhir.NewEntry(a.Body, false))
	}
	types := slices.DeleteFunc(fhir.Clinical(), func(t string) bool { return !e.Wants(t) })
	parts := make([]fhir.Answer, len(types))
	errs := make([]error, len(types))
	var each sync.WaitGroup
	var used atomic.Int64
	turn := make(chan struct{}, atOnce)
	for i, t := range types {
		each.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			own := &intake{c: c}
			defer own.close()
			s := fhir.Whole(t, e.Patient)
			if e.Since != "" {
				s.Query += "&_lastUpdated=" + url.QueryEscape("ge"+e.Since)
			}
			if parts[i], errs[i] = c.search(ctx, own, s); used.Add(own.used) > maxBody {
				errs[i] = fmt.Errorf("%w: more than %d MiB", fhir.ErrNonsense, maxBody>>20)
			}
		})
	}
	each.Wait()
	for i, part := range parts {
		if unknown(errs[i]) {
			continue
		}
		if errs[i] != nil {
			return fhir.Answer{}, errs[i]
		}
		entries, err := fhir.Entries(part.Body)
		if err != nil {
			return fhir.Answer{}, err
		}
		all = append(all, entries...)
		a.Policy.NoStore = a.Policy.NoStore || part.Policy.NoStore
	}
	a.ETag, a.LastModified, a.Body = "", "", fhir.Join(all)
	return a, nil
}
