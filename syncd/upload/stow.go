package upload

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"

	"clinicgate/syncd/dataset"
	"clinicgate/syncd/ingest"
)

// maxInstances bounds a STOW request's answer.
const maxInstances = 4096

// stow takes the instances of a STOW-RS request one after the other (PS3.18
// §10.5). Each is durable, or failed, before the next is read.
func (h *Handler) stow(w http.ResponseWriter, r *http.Request, s sender) {
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/related" || params["type"] != "application/dicom" || params["boundary"] == "" {
		problem(w, http.StatusUnsupportedMediaType, "content-type", `want multipart/related; type="application/dicom"; boundary=...`)
		return
	}
	var all stored
	parts := multipart.NewReader(r.Body, params["boundary"])
	for len(all.good)+len(all.bad) < maxInstances {
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			problem(w, http.StatusBadRequest, "multipart", "the body is not multipart/related, or broke off")
			return
		}
		h.instance(r, s, part, &all)
	}
	if len(all.good)+len(all.bad) == 0 {
		problem(w, http.StatusBadRequest, "multipart", "no instance in the body")
		return
	}
	h.Log.Info("stow", "device", s.name, "stored", len(all.good), "failed", len(all.bad))
	w.Header().Set("Content-Type", "application/dicom+json")
	w.WriteHeader(all.status())
	_ = json.NewEncoder(w).Encode([]any{all.answer()}) // a sender that went away
}

// stored is what became of the instances so far.
type stored struct {
	good, bad []map[string]any
	permanent bool // one of the failures will fail again
}

// instance takes one part.
func (h *Handler) instance(r *http.Request, s sender, part *multipart.Part, all *stored) {
	meta, head, err := dataset.ReadMeta(part)
	if err != nil {
		err = &ingest.Refusal{Reason: ingest.Malformed, What: err.Error()}
	} else {
		receipt, derr := h.Door.DICOM(r.Context(), ingest.File10{Meta: meta, Head: head, Data: &ending{part, func() error { return h.still(r, s) }}, Origin: s.name})
		if err = derr; err == nil {
			err = h.took(s, receipt.ID.String())
		}
	}
	one := map[string]any{"00081150": uid(meta.Class), "00081155": uid(meta.Instance)}
	if err == nil {
		all.good = append(all.good, one)
		return
	}
	h.Log.Warn("stow instance not accepted", "device", s.name, "err", err)
	reason := ingest.Failed
	var no *ingest.Refusal
	if errors.As(err, &no) {
		reason = no.Reason
		all.permanent = all.permanent || no.Permanent()
	}
	one["00081197"] = map[string]any{"vr": "US", "Value": []int{failure(reason)}}
	all.bad = append(all.bad, one)
}

func uid(s string) map[string]any {
	if s == "" {
		return map[string]any{"vr": "UI"}
	}
	return map[string]any{"vr": "UI", "Value": []string{s}}
}

// failure is the Failure Reason (0008,1197): the statuses of C-STORE.
func failure(r ingest.Reason) int {
	switch r {
	case ingest.Malformed:
		return 0xC000
	case ingest.Conflict:
		return 0xC001
	case ingest.Unsupported:
		return 0x0122
	case ingest.Mismatch:
		return 0xA900
	case ingest.Full:
		return 0xA700
	}
	return 0x0110
}

func (s *stored) status() int {
	switch {
	case len(s.bad) == 0:
		return http.StatusOK
	case len(s.good) > 0:
		return http.StatusAccepted
	case s.permanent:
		return http.StatusConflict
	}
	return http.StatusServiceUnavailable // try again
}

// answer is the response as DICOM JSON: Failed and Referenced SOP Sequence.
func (s *stored) answer() map[string]any {
	out := map[string]any{}
	if len(s.bad) > 0 {
		out["00081198"] = map[string]any{"vr": "SQ", "Value": s.bad}
	}
	if len(s.good) > 0 {
		out["00081199"] = map[string]any{"vr": "SQ", "Value": s.good}
	}
	return out
}
