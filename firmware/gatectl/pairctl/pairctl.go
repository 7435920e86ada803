// Package pairctl asks failoverd over its control socket to move the clinic's
// addresses. Every question has a time limit and every answer a size limit.
package pairctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"clinicgate/firmware/gatectl/ask"
)

// Client asks the failoverd of one run directory.
type Client struct {
	Run string
}

// Handover is what came of one: this box let go of the addresses.
type Handover struct {
	V    int    `json:"v"`    // 1
	To   string `json:"to"`   // the other box
	MS   int64  `json:"ms"`   // it took
	Hold bool   `json:"hold"` // this box stands aside over restarts
}

// ErrRefused is wrapped by the reason why the addresses stay where they are.
var ErrRefused = errors.New("refused")

// Limits of an answer.
const (
	patient   = 10 * time.Second
	maxAnswer = 4 << 10
)

// Handover has the other box take the addresses over. With hold this box stands
// aside until Release, else until it starts again.
func (c Client) Handover(ctx context.Context, hold bool) (h Handover, err error) {
	path := "/handover"
	if hold {
		path += "?hold=1"
	}
	answer, err := c.post(ctx, path)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(answer, &h); err != nil {
		return h, fmt.Errorf("ask failoverd: %w", err)
	}
	return h, nil
}

// Release has this box take part again as before.
func (c Client) Release(ctx context.Context) error {
	_, err := c.post(ctx, "/release")
	return err
}

func (c Client) post(ctx context.Context, path string) ([]byte, error) {
	text, err := ask.Peer{Run: c.Run, Name: "failoverd", Limit: maxAnswer, Time: patient}.Do(ctx, http.MethodPost, path, nil)
	if no := (*ask.Refusal)(nil); errors.As(err, &no) && no.Code == http.StatusConflict {
		return nil, fmt.Errorf("%w: %s", ErrRefused, no.Text())
	}
	return text, err
}
