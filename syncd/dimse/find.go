package dimse

import (
	"fmt"
	"strings"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/dimse/command"
	"clinicgate/syncd/dimse/identifier"
	"clinicgate/syncd/ingest"
	"clinicgate/syncd/worklist"
)

// WorklistFind is the class of C-FIND in the Modality Worklist (PS3.4 annex K).
const WorklistFind = "1.2.840.10008.5.1.4.31"

// Worklist returns the entries that meet a query; *register.Register does.
type Worklist interface {
	Find(q worklist.Query) (entries []worklist.Entry, more bool)
}

// Elements of the worklist (PS3.4 table K.6-1).
const (
	tagSet         = dataset.CharacterSet
	tagStep        = dataset.Tag(0x00400100)
	tagModality    = dataset.Tag(0x00080060)
	tagStation     = dataset.Tag(0x00400001)
	tagDate        = dataset.Tag(0x00400002)
	tagTime        = dataset.Tag(0x00400003)
	tagStepText    = dataset.Tag(0x00400007)
	tagStepID      = dataset.Tag(0x00400009)
	tagRequested   = dataset.Tag(0x00401001)
	tagDescription = dataset.Tag(0x00321060)
	tagReferring   = dataset.Tag(0x00080090)
)

// find answers a C-FIND: an answer for every entry, then the end.
func (s *service) find(up *upload, explicit bool, caller string) {
	query, err := identifier.Parse(up.data, explicit)
	if err != nil {
		s.answer(up, statusNotUnderstood, err.Error(), nil)
		return
	}
	q, step := question(query)
	entries, more := s.worklist.Find(q)
	for _, e := range entries {
		if e.Station == "" {
			e.Station = caller // whoever asks may do it
		}
		s.answer(up, statusPending, "", identifier.Append(nil, reply(query, step, e), explicit))
	}
	s.log.Info("dicom worklist", "entries", len(entries), "more", more)
	if more {
		s.answer(up, statusFull, fmt.Sprintf("more than %d entries, ask more exactly", worklist.Most), nil)
		return
	}
	s.answer(up, 0, "", nil)
}

// answer sends one answer to a request.
func (s *service) answer(up *upload, status Status, comment string, data []byte) {
	rsp := command.Command{
		Field: up.rq.Field.Response(), RespondedTo: up.rq.MessageID, Class: up.rq.Class, Instance: up.rq.Instance,
		Status: uint16(status), Comment: comment, HasData: data != nil, Type: up.rq.Type,
	}
	s.send(s.context, command.Append(nil, rsp), data)
}

// question reads the matching keys, and the keys wanted of the procedure step.
func question(set identifier.Set) (q worklist.Query, step identifier.Set) {
	if seq, ok := set.Get(tagStep); ok && len(seq.Items) > 0 {
		step = seq.Items[0]
	}
	charset := set.Text(tagSet)
	text := func(of identifier.Set, t dataset.Tag) string {
		e, _ := of.Get(t)
		return ingest.Decode(charset, e.Value)
	}
	return worklist.Query{
		Name: text(set, dataset.PatientName), ID: text(set, dataset.PatientID), Accession: text(set, dataset.Accession),
		Study: set.Text(dataset.StudyUID), Requested: text(set, tagRequested), Modality: step.Text(tagModality),
		Station: step.Text(tagStation), Date: step.Text(tagDate), Time: step.Text(tagTime), Step: text(step, tagStepID),
	}, step
}

// reply fills what was asked for. What the gateway doesn't know comes back empty; a
// query that names no keys of the step gets all there are.
func reply(query, step identifier.Set, e worklist.Entry) identifier.Set {
	values := map[dataset.Tag]string{
		dataset.Accession: e.Accession, tagReferring: e.Referring, dataset.PatientName: e.Name, dataset.PatientID: e.ID,
		dataset.PatientIssuer: e.Issuer, dataset.PatientBirth: e.Birth, dataset.PatientSex: e.Sex, dataset.StudyUID: e.Study,
		tagRequested: e.Requested, tagDescription: e.Description,
	}
	steps := map[dataset.Tag]string{
		tagModality: e.Modality, tagStation: e.Station, tagDate: e.Date, tagTime: e.Time, tagStepText: e.Description, tagStepID: e.Step,
	}
	if len(step) == 0 {
		for _, t := range []dataset.Tag{tagModality, tagStation, tagDate, tagTime, tagStepText, tagStepID} {
			step = append(step, identifier.Element{Tag: t})
		}
	}
	charset := charsetFor(query.Text(tagSet), values, steps)
	out := identifier.Set{}
	if charset != "" {
		out = append(out, identifier.Element{Tag: tagSet, VR: "CS", Value: []byte(charset)})
	}
	for _, k := range query {
		switch {
		case k.Tag == tagSet:
		case k.Tag == tagStep:
			out = append(out, identifier.Element{Tag: k.Tag, VR: "SQ", Items: []identifier.Set{fill(step, steps, charset)}})
		default:
			out = append(out, fill(identifier.Set{k}, values, charset)...)
		}
	}
	return out
}

// vrs of what is answered; the VR of what is not known is the asker's.
var vrs = map[dataset.Tag]string{
	dataset.Accession: "SH", tagReferring: "PN", dataset.PatientName: "PN", dataset.PatientID: "LO", dataset.PatientIssuer: "LO",
	dataset.PatientBirth: "DA", dataset.PatientSex: "CS", dataset.StudyUID: "UI", tagRequested: "SH", tagDescription: "LO",
	tagModality: "CS", tagStation: "AE", tagDate: "DA", tagTime: "TM", tagStepText: "LO", tagStepID: "SH",
}

func fill(keys identifier.Set, values map[dataset.Tag]string, charset string) identifier.Set {
	out := make(identifier.Set, 0, len(keys))
	for _, k := range keys {
		k.Value, k.Items = nil, nil
		if v, ok := values[k.Tag]; ok {
			k.VR = vrs[k.Tag]
			k.Value, _ = ingest.Encode(charset, v) // charsetFor has tried
		}
		out = append(out, k)
	}
	return out
}

// charsetFor is the character set of an answer: none for ASCII, the asker's own if
// it can say everything, else Latin-1, else UTF-8.
func charsetFor(asked string, sets ...map[dataset.Tag]string) string {
	var all strings.Builder
	for _, values := range sets {
		for _, v := range values {
			all.WriteString(v)
		}
	}
	text := all.String()
	if strings.IndexFunc(text, func(r rune) bool { return r > '~' }) < 0 {
		return ""
	}
	asked, _, _ = strings.Cut(asked, `\`)
	for _, set := range []string{strings.TrimSpace(asked), "ISO_IR 100"} {
		if _, ok := ingest.Encode(set, text); ok && strings.HasPrefix(set, "ISO_IR ") {
			return set
		}
	}
	return "ISO_IR 192"
}
