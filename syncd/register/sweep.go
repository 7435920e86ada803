package register

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/worklist"
)

// sweepEvery is how old the worklist gets while the EHR is in reach.
const sweepEvery = time.Minute

// maxOrders bounds the worklist; a clinic has some hundred orders open.
const maxOrders = 5000

// Run keeps the worklist until ctx ends.
func (r *Register) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := r.Sweep(ctx, time.Now()); err != nil {
			r.opt.Log.Warn("the worklist stays as it was", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(sweepEvery):
		}
	}
	return nil
}

// Sweep reads what is ordered, from the EHR or as it last said, and replaces the
// worklist as a whole; an order that is no more goes with it. After an error the
// worklist is as it was.
func (r *Register) Sweep(ctx context.Context, now time.Time) error {
	requests, at, err := r.list(ctx, fhir.Listing{Name: "worklist/requests", Type: "ServiceRequest", Query: "status=active"})
	if err == nil {
		day := func(days int) string { return url.QueryEscape(now.AddDate(0, 0, days).Format(time.DateOnly)) }
		var visits []fhir.Order
		visits, _, err = r.list(ctx, fhir.Listing{
			Name: "worklist/visits", Type: "Appointment", Query: "date=ge" + day(-1) + "&date=lt" + day(3) + "&status=booked,arrived,checked-in,pending",
		})
		if err == nil {
			requests = schedule(requests, visits)
		}
	}
	if err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.trouble = err
		return err
	}
	entries := r.entriesOf(ctx, requests)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries, r.at, r.trouble = entries, at, nil
	return nil
}

// list reads one list of orders. One that can't be understood is left out and said;
// the others stay.
func (r *Register) list(ctx context.Context, l fhir.Listing) (orders []fhir.Order, at time.Time, err error) {
	res, err := r.records.Read(ctx, l)
	if err != nil {
		return nil, at, fmt.Errorf("list %ss: %w", l.Type, err)
	}
	resources, err := fhir.Resources(res.Body)
	if err != nil {
		return nil, at, fmt.Errorf("list %ss: %w", l.Type, err)
	}
	for _, raw := range resources {
		o, err := fhir.DecodeOrder(raw, r.opt.Base)
		if err != nil {
			r.opt.Log.Warn("an order can't be read", "err", err)
			continue
		}
		if len(orders) < maxOrders {
			orders = append(orders, o)
		}
	}
	return orders, res.At, nil
}

// schedule gives requests the time of the visit that is for them; a visit that is
// for none stands for itself.
func schedule(requests, visits []fhir.Order) []fhir.Order {
	for _, v := range visits {
		own := true
		for i := range requests {
			if slices.Contains(v.BasedOn, requests[i].Ref) && requests[i].Patient == v.Patient {
				requests[i].When, own = v.When, false
			}
		}
		if own {
			requests = append(requests, v)
		}
	}
	return requests
}

// entriesOf reads the patients of orders and makes entries of those that are for a
// device, the earliest first.
func (r *Register) entriesOf(ctx context.Context, orders []fhir.Order) []worklist.Entry {
	var entries []worklist.Entry
	for _, o := range orders {
		if o.Patient == (fhir.Ref{}) || r.opt.Policy.Modality(o) == "" {
			continue
		}
		res, err := r.lasting.Read(ctx, o.Patient)
		if err != nil {
			r.opt.Log.Warn("the patient of an order can't be read; it is not on the worklist", "err", err)
			continue
		}
		p, err := fhir.DecodePatient(res.Body)
		if err != nil {
			r.opt.Log.Warn("the patient of an order can't be understood; it is not on the worklist", "err", err)
			continue
		}
		if e, ok := r.opt.Policy.New(o, p); ok {
			entries = append(entries, e)
		}
	}
	slices.SortStableFunc(entries, func(a, b worklist.Entry) int {
		return slices.Compare([]string{a.Date, a.Time, a.Study}, []string{b.Date, b.Time, b.Study})
	})
	return entries
}

// Lasting is how long the lasting reader may be content with a patient's record.
const Lasting = 10 * time.Minute
