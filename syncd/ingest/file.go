package ingest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
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
	// Patient is whose the file is, as the sender states beside it: of use where the
	// file itself names nobody, and held against it where it does.
	Patient format.Patient
}

// File lets in a file that is in memory as a whole, whatever its format is. The
// sender must not change body any more. A DICOM file's identity is its SOP instance,
// any other's is its sender and content.
func (d *Door) File(ctx context.Context, from Source, body []byte) (queue.Receipt, error) {
	facts, err := format.Recognise(body)
	if err != nil {
		return queue.Receipt{}, d.refuse(from.Origin, Malformed, err.Error(), err)
	}
	if err := d.takes(from, facts.Kind); err != nil {
		return queue.Receipt{}, err
	}
	if facts.Kind == format.DICOM {
		return d.dicomFile(ctx, from.Origin, bytes.NewReader(body))
	}
	switch stated := from.Patient; {
	case facts.Patient.ID == "" && facts.Patient.Name == "":
		facts.Patient = stated
	case stated.ID != "" && facts.Patient.ID != stated.ID:
		return queue.Receipt{}, d.refuse(from.Origin, Mismatch, "the file names another patient than its sender states", nil)
	}
	it := fileItem(from, facts.Kind, sha256.Sum256(body), int64(len(body)))
	if facts.Patient == from.Patient && facts.Patient != (format.Patient{}) {
		// The same file stated to be another's is another item: that is how a wrong
		// statement is put right.
		it.Key += fmt.Sprintf(":%x", sha256.Sum256([]byte(from.Patient.ID+"\x00"+from.Patient.Name+"\x00"+from.Patient.Birth)))
	}
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

func (d *Door) takes(from Source, kind string) error {
	if len(from.Takes) == 0 || slices.Contains(from.Takes, kind) {
		return nil
	}
	return d.refuse(from.Origin, Unsupported, fmt.Sprintf("got %s, want %s", kind, strings.Join(from.Takes, " or ")), nil)
}

// wholeLimit is the largest file that is looked at in memory, one at a time.
const wholeLimit = 32 << 20

// Stream lets in a file of any size: DICOM passes piece by piece, any other format
// is at most 32 MiB. An error of body means that the upload broke off.
func (d *Door) Stream(ctx context.Context, from Source, body io.Reader) (queue.Receipt, error) {
	in := bufio.NewReaderSize(body, 64<<10)
	head, err := in.Peek(132)
	if err != nil && err != io.EOF {
		return queue.Receipt{}, &Refusal{Failed, "the upload broke off", err}
	}
	if len(head) == 132 && string(head[128:]) == "DICM" {
		if err := d.takes(from, format.DICOM); err != nil {
			return queue.Receipt{}, err
		}
		return d.dicomFile(ctx, from.Origin, in)
	}
	select {
	case d.whole <- struct{}{}:
		defer func() { <-d.whole }()
	case <-ctx.Done():
		return queue.Receipt{}, &Refusal{Failed, "the upload broke off", ctx.Err()}
	}
	file, err := io.ReadAll(io.LimitReader(in, wholeLimit+1))
	switch {
	case err != nil:
		return queue.Receipt{}, &Refusal{Failed, "the upload broke off", err}
	case len(file) > wholeLimit:
		return queue.Receipt{}, d.refuse(from.Origin, Unsupported, fmt.Sprintf("over %d MiB and not DICOM", wholeLimit>>20), nil)
	}
	return d.File(ctx, from, file)
}

// Unrecognised is the kind of an item that no format was found for.
const Unrecognised = "unrecognised"

// Hold keeps what File refused for good from a sender that can't understand a
// refusal and would send it for ever. It waits for a person and is never sent.
func (d *Door) Hold(ctx context.Context, from Source, body []byte, why *Refusal) (queue.Receipt, error) {
	return d.HoldStream(ctx, from, sha256.Sum256(body), int64(len(body)), bytes.NewReader(body), why)
}

// HoldStream is Hold for a body that need not fit into memory.
func (d *Door) HoldStream(ctx context.Context, from Source, digest queue.Digest, size int64, body io.Reader, why *Refusal) (queue.Receipt, error) {
	it := fileItem(from, Unrecognised, digest, size)
	it.Key = "held-" + it.Key
	it.Held = why.What
	receipt, err := d.queue.Accept(ctx, it, body)
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

func fileItem(from Source, kind string, digest queue.Digest, size int64) queue.Item {
	return queue.Item{
		Key: fmt.Sprintf("%s:%s:%x", from.Via, from.Origin, digest), Lane: lane.Routine, Kind: kind, Origin: from.Origin,
		Order: "device:" + from.Origin, Digest: digest, Size: size, Meta: map[string]string{},
	}
}
