package association

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"clinicgate/syncd/dimse/pdu"
)

// Policy is what we take.
type Policy struct {
	Title    string              // our AE title
	Callers  []string            // AE titles that may call; empty: any
	Full     bool                // as many associations as we serve are open already
	Classes  map[string][]string // SOP class → transfer syntaxes taken for it
	MaxPDU   uint32              // largest P-DATA-TF we take
	ClassUID string              // our implementation class and version
	Version  string
}

// Agreed is what an accepted association is about.
type Agreed struct {
	Caller   string
	PeerMax  uint32 // largest P-DATA-TF the peer takes
	Contexts map[byte]Context
	Peer     string // the peer's implementation version, as it says
}

// Context is an accepted presentation context.
type Context struct{ Class, Syntax string }

// Bounds of the largest PDU of a peer. Under the least, an answer would go out in
// crumbs; "no limit" needs some limit.
const (
	leastPeerMax = 256
	mostPeerMax  = 128 << 10
)

// Negotiate decides on a request: an acceptance with what was agreed, or a
// rejection (PS3.8 §7.1.1, table 9-21). A context is answered with the first of
// the caller's transfer syntaxes that we take, for a caller puts first what it
// holds and nothing here is ever transcoded.
func Negotiate(p Policy, rq *pdu.AssociateRQ) (*Agreed, *pdu.AssociateAC, *pdu.AssociateRJ) {
	if rj := reject(p, rq); rj != nil {
		return nil, nil, rj
	}
	agreed := &Agreed{Caller: rq.Calling, PeerMax: rq.User.MaxLength, Contexts: map[byte]Context{}, Peer: rq.User.VersionName}
	if agreed.PeerMax == 0 || agreed.PeerMax > mostPeerMax {
		agreed.PeerMax = mostPeerMax
	}
	ac := &pdu.AssociateAC{
		Version: 1, Called: rq.Called, Calling: rq.Calling, Application: pdu.ApplicationContextUID,
		User: pdu.User{MaxLength: p.MaxPDU, ClassUID: p.ClassUID, VersionName: p.Version},
	}
	for _, c := range rq.Contexts {
		r := p.answer(c)
		if r.Reason == pdu.ContextAccepted {
			agreed.Contexts[c.ID] = Context{Class: c.Abstract, Syntax: r.Transfer}
		}
		ac.Results = append(ac.Results, r)
	}
	return agreed, ac, nil
}

func reject(p Policy, rq *pdu.AssociateRQ) *pdu.AssociateRJ {
	switch {
	case rq.Version&1 == 0:
		return &pdu.AssociateRJ{Result: pdu.RejectedPermanent, Source: pdu.SourceACSE, Reason: pdu.ACSEVersion}
	case rq.Application != pdu.ApplicationContextUID:
		return &pdu.AssociateRJ{Result: pdu.RejectedPermanent, Source: pdu.SourceUser, Reason: pdu.UserNoApplication}
	case rq.Called != p.Title:
		return &pdu.AssociateRJ{Result: pdu.RejectedPermanent, Source: pdu.SourceUser, Reason: pdu.UserCalledUnknown}
	case rq.Calling == "", strings.ContainsFunc(rq.Calling, unicode.IsControl), len(p.Callers) > 0 && !slices.Contains(p.Callers, rq.Calling):
		return &pdu.AssociateRJ{Result: pdu.RejectedPermanent, Source: pdu.SourceUser, Reason: pdu.UserCallingUnknown}
	case p.Full:
		return &pdu.AssociateRJ{Result: pdu.RejectedTransient, Source: pdu.SourcePresentation, Reason: pdu.PresentationLimit}
	case !sound(rq):
		return &pdu.AssociateRJ{Result: pdu.RejectedPermanent, Source: pdu.SourceACSE, Reason: pdu.ACSENoReason}
	}
	return nil
}

// sound holds what no caller may get wrong: context IDs odd and each once, and a
// PDU size in which an answer fits.
func sound(rq *pdu.AssociateRQ) bool {
	seen := map[byte]bool{}
	for _, c := range rq.Contexts {
		if c.ID%2 == 0 || seen[c.ID] {
			return false
		}
		seen[c.ID] = true
	}
	return len(seen) > 0 && (rq.User.MaxLength == 0 || rq.User.MaxLength >= leastPeerMax)
}

func (p Policy) answer(c pdu.Context) pdu.Result {
	takes, ok := p.Classes[c.Abstract]
	if !ok {
		return pdu.Result{ID: c.ID, Reason: pdu.ContextNoAbstract, Transfer: first(c.Transfer)}
	}
	for _, t := range c.Transfer {
		if slices.Contains(takes, t) {
			return pdu.Result{ID: c.ID, Reason: pdu.ContextAccepted, Transfer: t}
		}
	}
	return pdu.Result{ID: c.ID, Reason: pdu.ContextNoTransfer, Transfer: first(c.Transfer)}
}

// first fills the transfer syntax of a refused context: not significant, but some
// callers can't read an answer without one.
func first(syntaxes []string) string {
	if len(syntaxes) == 0 {
		return "1.2.840.10008.1.2"
	}
	return syntaxes[0]
}

// explain says a rejection in words, for the log and for people.
func explain(rj *pdu.AssociateRJ, rq *pdu.AssociateRQ) string {
	switch [2]byte{rj.Source, rj.Reason} {
	case [2]byte{pdu.SourceUser, pdu.UserCalledUnknown}:
		return fmt.Sprintf("called AE title %q is not ours", rq.Called)
	case [2]byte{pdu.SourceUser, pdu.UserCallingUnknown}:
		return fmt.Sprintf("calling AE title %q is not in sync.dicom.callers", rq.Calling)
	case [2]byte{pdu.SourceUser, pdu.UserNoApplication}:
		return fmt.Sprintf("application context %q", rq.Application)
	case [2]byte{pdu.SourceACSE, pdu.ACSEVersion}:
		return fmt.Sprintf("protocol version %#x, want bit 0", rq.Version)
	case [2]byte{pdu.SourcePresentation, pdu.PresentationLimit}:
		return "too many associations at once"
	}
	return "contexts doubled, missing or with even numbers, or a PDU size too small for an answer"
}
