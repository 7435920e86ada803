package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"clinicgate/firmware/wire"
	"clinicgate/syncd/format"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
)

// Source is where a whole file came from.
type Source struct {
	Origin string   // who sent it, proven by its certificate
	Via    string   // protocol, for the item's key: "mqtt"
	Takes  []string // formats the sender may send here; empty: any
}

// File lets in a file that is in memory as a whole, whatever its format is. The
// sender must not change body any more. A DICOM file's identity is its SOP instance,
// any other's is its sender and content.
func (d *Door) File(ctx context.Context, from Source, body []byte) (queue.Receipt, error) {
	facts, err := format.Recognise(body)
	if err != nil {
		return queue.Receipt{}, d.refuse(from.Origin, Malformed, err.Error(), err)
	}
	if len(from.Takes) > 0 && !slices.Contains(from.Takes, facts.Kind) {
		what := fmt.Sprintf("got %s, want %s", facts.Kind, strings.Join(from.Takes, " or "))
		return queue.Receipt{}, d.refuse(from.Origin, Unsupported, what, nil)
	}
	if facts.Kind == format.DICOM {
		return d.dicomFile(ctx, from.Origin, body)
	}
	it := fileItem(from, facts.Kind, body)
	it.Order = order(facts.Patient, from.Origin)
	it.Meta[queue.MetaContentType] = facts.ContentType
	describe(it.Meta, facts.Patient)
	for k, v := range map[string]string{MetaDocument: facts.Document, MetaDeviation: facts.Deviation} {
		if v != "" {
			it.Meta[k] = v
		}
	}
	switch {
	case len(body) > bulk:
		it.Lane = lane.Bulk
	case facts.Kind == format.SCPECG || facts.Kind == format.AECG:
		it.Lane = lane.Stat
	}
	return d.accept(ctx, it, bytes.NewReader(body))
}

// Unrecognised is the kind of an item that no format was found for.
const Unrecognised = "unrecognised"

// Hold keeps what File refused for good from a sender that can't understand a
// refusal and would send it for ever. It waits for a person and is never sent.
func (d *Door) Hold(ctx context.Context, from Source, body []byte, why *Refusal) (queue.Receipt, error) {
	it := fileItem(from, Unrecognised, body)
	it.Key = "held-" + it.Key
	it.Held = why.What
	receipt, err := d.queue.Accept(ctx, it, bytes.NewReader(body))
	if err != nil {
		return receipt, &Refusal{Failed, "the upload could not be kept", err}
	}
	d.faults.Raise(wire.Fault{ // in place of the refusal's
		ID: faultRefused, Severity: wire.Warning, Where: d.where(from.Origin),
		What: fmt.Sprintf("upload held, %v: %s", why.Reason, why.What),
		Do:   "look at held item " + receipt.ID.String() + " and check the device's software and settings; the item is kept and not delivered",
	})
	return receipt, nil
}

func fileItem(from Source, kind string, body []byte) queue.Item {
	digest := sha256.Sum256(body)
	return queue.Item{
		Key: fmt.Sprintf("%s:%s:%x", from.Via, from.Origin, digest), Lane: lane.Routine, Kind: kind, Origin: from.Origin,
		Order: "device:" + from.Origin, Digest: digest, Size: int64(len(body)), Meta: map[string]string{},
	}
}
