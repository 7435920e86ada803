// Package stow brings DICOM instances to an archive over DICOMweb (PS3.18). Its
// one guarantee: an instance is reported as delivered only when the archive lists
// it under the item's patient, study and series, and, up to ReadBack bytes, gave
// back its data set as it was sent; and nothing is sent over an instance that is
// already there.
package stow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"clinicgate/syncd/deliver"
	"clinicgate/syncd/queue"
)

// Sender is an archive, reached through a client for its DICOMweb base.
type Sender struct {
	Client *deliver.Client
	// ReadBack is the size up to which a sent instance is read back and compared.
	// One found there before sending is always compared. Zero: 4 MiB.
	ReadBack int64
}

const defaultReadBack = 4 << 20

// place is where an instance belongs.
type place struct{ study, series, instance, patient string }

// Send brings one instance there.
//
//	ask by QIDO     there, the same: delivered; there, another: refused for good
//	store by STOW   no answer: the next attempt asks
//	ask again       not listed under the same patient, or read back different: not delivered
func (s *Sender) Send(ctx context.Context, it queue.Item, tried bool, body deliver.Body) (string, error) {
	at := place{it.Meta[queue.MetaStudyUID], it.Meta[queue.MetaSeriesUID], it.Meta[queue.MetaInstanceUID], it.Meta[queue.MetaPatientID]}
	for name, uid := range map[string]string{"study": at.study, "series": at.series, "SOP instance": at.instance} {
		if !validUID(uid) {
			return "", deliver.Refuse("%s UID %.70q is none (PS3.5 §9)", name, uid)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, deliver.Patience(it.Size))
	defer cancel()
	there, err := s.find(ctx, at)
	if err != nil {
		return "", err
	}
	if there {
		if err := s.compare(ctx, at, it, body); err != nil {
			return "", err
		}
		if tried {
			return "found there, read back the same", nil
		}
		return "was there before, read back the same", nil
	}
	if err := s.store(ctx, at, it, body); err != nil {
		return "", err
	}
	switch there, err = s.find(ctx, at); {
	case err != nil:
		return "", err
	case !there:
		return "", &deliver.Failure{Kind: deliver.Troubled, Reason: "stored, says the archive, and doesn't list it"}
	}
	limit := s.ReadBack
	if limit == 0 {
		limit = defaultReadBack
	}
	if it.Size > limit {
		return "stored, listed under its patient, study and series", nil
	}
	if err := s.compare(ctx, at, it, body); err != nil {
		return "", err
	}
	return "stored, read back the same", nil
}

// validUID is PS3.5 §9.1 as far as it matters here: it goes into a path. Real
// devices make components with leading zeros and empty ones; archives take them.
func validUID(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "0123456789.") == "" && strings.Trim(s, ".") != ""
}

// maxJSON bounds what an archive answers to a question.
const maxJSON = 1 << 20

// dataset is the DICOM JSON model (PS3.18 annex F), as far as it is read here.
type dataset map[string]struct {
	Value []json.RawMessage `json:"Value"`
}

func (d dataset) text(tag string) string {
	var s string
	if v := d[tag].Value; len(v) > 0 {
		json.Unmarshal(v[0], &s)
	}
	return strings.Trim(s, " \x00")
}

func (d dataset) sequence(tag string) (items []dataset) {
	for _, raw := range d[tag].Value {
		var item dataset
		if json.Unmarshal(raw, &item) == nil {
			items = append(items, item)
		}
	}
	return items
}

// find asks for the instance by QIDO-RS (PS3.18 §10.6). True means that it is
// there and where it belongs; if it is there otherwise, the item is refused.
func (s *Sender) find(ctx context.Context, at place) (bool, error) {
	q := url.Values{"SOPInstanceUID": {at.instance}, "includefield": {"00100020"}}
	resp, err := s.Client.Do(ctx, deliver.Request{
		Method: "GET", Path: "/instances?" + q.Encode(), Header: map[string]string{"Accept": "application/dicom+json"},
	})
	if err != nil {
		return false, err
	}
	defer deliver.Discard(resp)
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		return false, nil
	default:
		return false, unwilling(deliver.Status(resp))
	}
	var found []dataset
	if err := decode(resp.Body, &found); err != nil {
		return false, err
	}
	for _, d := range found {
		if d.text("00080018") != at.instance {
			return false, &deliver.Failure{Kind: deliver.Refusing, Reason: "answers a question for one instance with others"}
		}
		if d.text("0020000D") != at.study || d.text("0020000E") != at.series {
			return false, deliver.Refuse("the same SOP instance UID is there in another study or series")
		}
		if d.text("00100020") != at.patient {
			return false, deliver.Refuse("the same SOP instance UID is there for another patient")
		}
	}
	if len(found) > 1 {
		return false, deliver.Refuse("the same SOP instance UID is there %d times", len(found))
	}
	return len(found) == 1, nil
}

// unwilling says of a question what Status says of an answer: an archive that
// won't answer it can't be delivered to safely, whatever the item.
func unwilling(err error) error {
	var f *deliver.Failure
	if errors.As(err, &f) && f.Kind == deliver.Refused {
		f.Kind = deliver.Refusing
	}
	return err
}

func decode(r io.Reader, into any) error {
	limited := &io.LimitedReader{R: r, N: maxJSON + 1}
	if err := json.NewDecoder(limited).Decode(into); err != nil {
		if limited.N <= 0 {
			err = fmt.Errorf("over %d bytes", maxJSON)
		}
		return &deliver.Failure{Kind: deliver.Troubled, Reason: "answers something that is not DICOM JSON", Err: err}
	}
	return nil
}

// store sends the instance by STOW-RS (PS3.18 §10.5).
func (s *Sender) store(ctx context.Context, at place, it queue.Item, body deliver.Body) error {
	file, err := body()
	if err != nil {
		return fmt.Errorf("read item: %w", err)
	}
	defer file.Close()
	whole, contentType, size := wrap(file, it.Size)
	resp, err := s.Client.Do(ctx, deliver.Request{
		Method: "POST", Path: "/studies", Body: whole, Size: size,
		Header: map[string]string{"Content-Type": contentType, "Accept": "application/dicom+json"},
	})
	if err != nil {
		return err
	}
	defer deliver.Discard(resp)
	switch resp.StatusCode {
	case http.StatusOK, http.StatusAccepted, http.StatusConflict:
	default:
		return deliver.Status(resp)
	}
	var answer dataset
	if err := decode(resp.Body, &answer); err != nil {
		return err
	}
	return verdict(answer, at, resp.StatusCode)
}

// verdict reads what became of the instance: PS3.18 §10.5.3 and table I.2-1.
func verdict(answer dataset, at place, status int) error {
	is := func(d dataset) bool { return d.text("00081155") == at.instance }
	failed := answer.sequence("00081198")
	if i := slices.IndexFunc(failed, is); i >= 0 {
		return reason(failed[i])
	}
	if len(failed) > 0 || status == http.StatusConflict {
		return &deliver.Failure{Kind: deliver.Troubled, Reason: fmt.Sprintf("answers %d and speaks of other instances", status)}
	}
	if !slices.ContainsFunc(answer.sequence("00081199"), is) {
		return &deliver.Failure{Kind: deliver.Troubled, Reason: fmt.Sprintf("answers %d and doesn't say that it stored the instance", status)}
	}
	return nil
}

// reason judges a failure reason (0008,1197): PS3.18 table I.2-2, PS3.4 table B.2-1.
func reason(d dataset) error {
	var code int
	if v := d["00081197"].Value; len(v) > 0 {
		json.Unmarshal(v[0], &code)
	}
	f := &deliver.Failure{Kind: deliver.Refused, Reason: fmt.Sprintf("refused with failure reason %04XH", code)}
	switch {
	case code>>8 == 0xA7: // out of resources
		f.Kind = deliver.Unreachable
	case code == 0x0110, code == 0: // processing failure, or none given
		f.Kind = deliver.Troubled
	}
	return f
}
