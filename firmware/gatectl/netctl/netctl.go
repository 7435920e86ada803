// Package netctl asks netd over its control socket. Every question has a time limit
// and every answer a size limit.
package netctl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"clinicgate/firmware/gatectl/ask"
	"clinicgate/firmware/wire"
)

// Client asks the netd of one run directory.
type Client struct {
	Run string
}

// ErrQuestion is wrapped by the reason why netd can't make sense of a question.
var ErrQuestion = errors.New("netd does not understand")

// Limits of an answer. That of all leases is the longest.
const (
	patient   = 10 * time.Second
	maxAnswer = 4 << 20
)

func (c Client) peer() ask.Peer {
	return ask.Peer{Run: c.Run, Name: "netd", Limit: maxAnswer, Time: patient}
}

// Why asks which way a new flow takes; query has src and dst, and may have proto,
// port and dscp.
func (c Client) Why(ctx context.Context, query url.Values) (w wire.FlowWay, err error) {
	err = c.peer().JSON(ctx, http.MethodGet, "/why?"+query.Encode(), nil, &w)
	if no := (*ask.Refusal)(nil); errors.As(err, &no) && no.Code == http.StatusBadRequest {
		return w, fmt.Errorf("%w: %s", ErrQuestion, no.Text())
	}
	return w, err
}

// Leases asks which addresses the box has given to whom.
func (c Client) Leases(ctx context.Context) (list []wire.Lease, err error) {
	err = c.peer().JSON(ctx, http.MethodGet, "/leases", nil, &list)
	return list, err
}
