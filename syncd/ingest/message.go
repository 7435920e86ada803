package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"clinicgate/syncd/format"
	"clinicgate/syncd/hl7"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
)

// Message lets an HL7 v2 message in, byte by byte as it came. Its identity is what
// the standard says: sending application, facility and control id; the same with
// another body is refused. Of the types only results (ORU) are taken.
func (d *Door) Message(ctx context.Context, origin string, m hl7.Message, body []byte) (queue.Receipt, error) {
	if m.Type != "ORU" {
		return queue.Receipt{}, d.refuse(origin, Unsupported, fmt.Sprintf("message type %.8q, want ORU", m.Type), nil)
	}
	name := sha256.New()
	for _, part := range []string{m.From[0], m.From[1], m.Control} {
		fmt.Fprintf(name, "%d:%s", len(part), part)
	}
	p := format.Patient{ID: m.Patient.ID, Issuer: m.Patient.Issuer, Name: m.Patient.Name, Birth: m.Patient.Birth, Sex: m.Patient.Sex}
	it := queue.Item{
		Key: fmt.Sprintf("hl7:%x", name.Sum(nil)), Lane: lane.Routine, Kind: format.HL7, Origin: origin, Order: order(p, origin),
		Digest: sha256.Sum256(body), Size: int64(len(body)), Meta: map[string]string{queue.MetaContentType: "x-application/hl7-v2+er7"},
	}
	describe(it.Meta, p)
	if m.Deviation != "" {
		it.Meta[MetaDeviation] = m.Deviation
	}
	return d.accept(ctx, it, bytes.NewReader(body))
}

// Unreadable notes a message that is not formed as its standard wants.
func (d *Door) Unreadable(origin string, why error) error {
	return d.refuse(origin, Malformed, why.Error(), why)
}
