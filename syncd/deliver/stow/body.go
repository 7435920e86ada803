package stow

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"

	dcm "clinicgate/syncd/dataset"
	"clinicgate/syncd/deliver"
	"clinicgate/syncd/queue"
)

// wrap makes a file the only part of a multipart/related message (RFC 2387) of
// known size, so that no archive has to understand chunks.
func wrap(file io.Reader, size int64) (whole io.Reader, contentType string, total int64) {
	boundary := "clinicgate-" + rand.Text()
	first := "--" + boundary + "\r\nContent-Type: application/dicom\r\n\r\n"
	last := "\r\n--" + boundary + "--\r\n"
	whole = io.MultiReader(strings.NewReader(first), file, strings.NewReader(last))
	return whole, `multipart/related; type="application/dicom"; boundary=` + boundary, int64(len(first)+len(last)) + size
}

// compare reads the instance back by WADO-RS (PS3.18 §10.4) and refuses the item
// if the archive has another data set under its UID. The file's header is not
// compared: an archive writes its own.
func (s *Sender) compare(ctx context.Context, at place, it queue.Item, body deliver.Body) error {
	resp, err := s.Client.Do(ctx, deliver.Request{
		Method: "GET", Path: "/studies/" + at.study + "/series/" + at.series + "/instances/" + at.instance,
		Header: map[string]string{"Accept": `multipart/related; type="application/dicom"; transfer-syntax=*`},
	})
	if err != nil {
		return err
	}
	defer resp.Body.Close() // what is left may be large
	if resp.StatusCode != http.StatusOK {
		return unwilling(deliver.Status(resp))
	}
	part, err := onlyPart(resp)
	if err != nil {
		return err
	}
	theirs, err := sum(part, it.Size+maxHeader)
	switch {
	case errors.Is(err, errLong):
		return deliver.Refuse("the archive has a longer instance under the same SOP instance UID")
	case err != nil:
		return &deliver.Failure{Kind: deliver.Troubled, Reason: "can't read the instance back", Err: err}
	}
	file, err := body()
	if err != nil {
		return fmt.Errorf("read item: %w", err)
	}
	defer file.Close()
	ours, err := sum(deliver.Aside(file), it.Size)
	if err != nil {
		return fmt.Errorf("read item: %w", err)
	}
	if theirs != ours {
		return deliver.Refuse("the archive has other content under the same SOP instance UID: got %x, want %x", theirs[:6], ours[:6])
	}
	return nil
}

func onlyPart(resp *http.Response) (io.Reader, error) {
	kind, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/related" || params["boundary"] == "" {
		return nil, &deliver.Failure{Kind: deliver.Troubled, Reason: fmt.Sprintf("answers with content type %.80q, want multipart/related", kind)}
	}
	part, err := multipart.NewReader(resp.Body, params["boundary"]).NextRawPart()
	if err != nil {
		return nil, &deliver.Failure{Kind: deliver.Troubled, Reason: "answers without an instance", Err: err}
	}
	return part, nil
}

// maxHeader is how much longer than ours an archive's file header may be.
const maxHeader = 1 << 20

var errLong = errors.New("longer than it can be")

// sum is the digest of a file's transfer syntax and data set.
func sum(file io.Reader, limit int64) (d [sha256.Size]byte, err error) {
	limited := &io.LimitedReader{R: file, N: limit + 1}
	meta, _, err := dcm.ReadMeta(limited)
	if err != nil {
		return d, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\x00", meta.Syntax)
	if _, err := io.Copy(h, limited); err != nil {
		return d, err
	}
	if limited.N <= 0 {
		return d, errLong
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}
