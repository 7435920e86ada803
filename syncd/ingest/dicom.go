package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/format"
	"clinicgate/syncd/lane"
	"clinicgate/syncd/queue"
)

const (
	// headLimit is how far into a data set its identifiers must come. They stand
	// before everything long, so 1 MiB is reached by private elements only.
	headLimit = 1 << 20
	// sketchLimit is how much more is looked at to guess the size.
	sketchLimit = 64 << 10
	// bulk is the size from which an upload waits behind the others.
	bulk = 50 << 20
)

// Instance is a SOP instance as a sender announces it.
type Instance struct {
	Class    string // SOP class UID
	Instance string // SOP instance UID
	Syntax   string // transfer syntax UID the data set is written in
	Origin   string // AE title of the sender
}

// Instance lets a data set in. It becomes a DICOM file: our header, then the data
// set's bytes as they came. data may be larger than memory; its error other than
// io.EOF means that the upload broke off.
func (d *Door) Instance(ctx context.Context, in Instance, data io.Reader) (queue.Receipt, error) {
	meta := dataset.Meta{Class: in.Class, Instance: in.Instance, Syntax: in.Syntax}
	return d.dicom(ctx, upload{meta: meta, origin: in.Origin, head: meta.Append(nil)}, data)
}

// upload is a DICOM object on its way in.
type upload struct {
	meta   dataset.Meta
	origin string
	head   []byte // preamble and header that go before the data set
	file   bool   // they came with it
}

// File10 is a DICOM file (PS3.10) whose header has been read.
type File10 struct {
	Meta   dataset.Meta
	Head   []byte // preamble and header, as they came
	Data   io.Reader
	Origin string
}

// DICOM lets in a DICOM file of any size, header and all as it came.
func (d *Door) DICOM(ctx context.Context, f File10) (queue.Receipt, error) {
	return d.dicom(ctx, upload{f.Meta, f.Origin, f.Head, true}, f.Data)
}

// dicomFile lets a DICOM file in, header and all as it came.
func (d *Door) dicomFile(ctx context.Context, origin string, src io.Reader) (queue.Receipt, error) {
	meta, head, err := dataset.ReadMeta(src)
	if err != nil {
		return queue.Receipt{}, d.refuse(origin, Malformed, err.Error(), err)
	}
	return d.dicom(ctx, upload{meta, origin, head, true}, src)
}

func (d *Door) dicom(ctx context.Context, up upload, data io.Reader) (queue.Receipt, error) {
	syntax, ok := dataset.FindSyntax(up.meta.Syntax)
	if !ok {
		return queue.Receipt{}, d.refuse(up.origin, Unsupported, fmt.Sprintf("transfer syntax %.64q", up.meta.Syntax), nil)
	}
	class, ok := dataset.FindClass(up.meta.Class)
	if !ok {
		return queue.Receipt{}, d.refuse(up.origin, Unsupported, fmt.Sprintf("SOP class %.64q", up.meta.Class), nil)
	}
	r := dataset.NewReader(data, syntax)
	if err := r.Head(headLimit); err != nil {
		return queue.Receipt{}, d.broken(up.origin, r, err)
	}
	if err := d.announced(up, r); err != nil {
		return queue.Receipt{}, err
	}
	if err := r.Sketch(headLimit + sketchLimit); err != nil {
		return queue.Receipt{}, d.broken(up.origin, r, err)
	}
	receipt, err := d.accept(ctx, dicomItem(up, class, r), io.MultiReader(bytes.NewReader(up.head), r))
	if err != nil && r.Err() != nil {
		return queue.Receipt{}, d.broken(up.origin, r, r.Err())
	}
	return receipt, err
}

// broken tells a data set that is wrong from one whose sender went away.
func (d *Door) broken(origin string, r *dataset.Reader, err error) error {
	if errors.Is(err, dataset.ErrMalformed) {
		return d.refuse(origin, Malformed, err.Error(), err)
	}
	return &Refusal{Failed, "the upload broke off", err}
}

// announced holds the data set against what the sender said it is. The header of
// a file is only a copy (PS3.10 §7.1), and real ones name another instance; there
// the data set decides.
func (d *Door) announced(up upload, r *dataset.Reader) error {
	uid, class := r.Text(dataset.InstanceUID), r.Text(dataset.ClassUID)
	switch {
	case uid == "" || len(uid) > 64:
		return d.refuse(up.origin, Mismatch, "no SOP instance UID (0008,0018) in the data set", nil)
	case uid != up.meta.Instance && !up.file:
		return d.refuse(up.origin, Mismatch, "SOP instance UID in the data set is not the announced one", nil)
	case class != up.meta.Class:
		return d.refuse(up.origin, Mismatch, fmt.Sprintf("SOP class UID %.64q in the data set, %.64q announced", class, up.meta.Class), nil)
	}
	return nil
}

func dicomItem(up upload, class dataset.Class, r *dataset.Reader) queue.Item {
	p, uid := dicomPatient(r), r.Text(dataset.InstanceUID)
	it := queue.Item{
		Key: "dicom:" + uid, Lane: lane.Routine, Kind: format.DICOM, Origin: up.origin, Order: order(p, up.origin),
		Meta: map[string]string{
			queue.MetaContentType: "application/dicom", queue.MetaInstanceUID: uid, queue.MetaClassUID: class.UID,
			queue.MetaTransferSyntax: up.meta.Syntax, queue.MetaStudyUID: r.Text(dataset.StudyUID), queue.MetaSeriesUID: r.Text(dataset.SeriesUID),
		},
	}
	describe(it.Meta, p)
	if number := decode(sets(r), r.Bytes(dataset.Accession)); number != "" {
		it.Meta[queue.MetaAccession] = number
	}
	if uid != up.meta.Instance {
		it.Meta[MetaDeviation] = "the file's header names another SOP instance than its data set"
	}
	switch {
	case r.Expect() > bulk:
		it.Lane = lane.Bulk
	case class.ECG:
		it.Lane = lane.Stat
	}
	return it
}

// order keeps one patient's items, or else one device's, in their order.
func order(p format.Patient, origin string) string {
	if p.ID != "" {
		return "patient:" + p.ID
	}
	return "device:" + origin
}

// Names in queue.Item.Meta beside queue's own.
const (
	MetaPatientSex = "patient-sex"      // M, F, O
	MetaDocument   = "document-id"      // the file's own identifier
	MetaDeviation  = "format-deviation" // how a file differs from its standard
)

func describe(meta map[string]string, p format.Patient) {
	for k, v := range map[string]string{
		queue.MetaPatientID: p.ID, queue.MetaPatientIssuer: p.Issuer, queue.MetaPatientName: p.Name,
		queue.MetaPatientBirth: p.Birth, MetaPatientSex: p.Sex,
	} {
		if v != "" {
			meta[k] = v
		}
	}
}

func dicomPatient(r *dataset.Reader) format.Patient {
	sets := sets(r)
	return format.Patient{
		ID:     decode(sets, r.Bytes(dataset.PatientID)),
		Issuer: decode(sets, r.Bytes(dataset.PatientIssuer)),
		Name:   decodeName(sets, r.Bytes(dataset.PatientName)),
		Birth:  r.Text(dataset.PatientBirth),
		Sex:    r.Text(dataset.PatientSex),
	}
}

func sets(r *dataset.Reader) []string { return strings.Split(r.Text(dataset.CharacterSet), `\`) }
