// Package pdu holds the seven protocol data units of the DICOM upper layer
// (PS3.8 §9.3) and their bytes. Its guarantee: any input gives either a PDU whose
// every count and length is within the limits below, or an error; no input makes
// it allocate more than the PDU size its Reader was given.
package pdu

import "fmt"

// Limits on what a peer may send. An A-ASSOCIATE-RQ of dcmtk with its 128
// contexts is under 40 kB.
const (
	MaxAssociate = 256 << 10 // bytes of an A-ASSOCIATE-RQ or -AC
	MaxContexts  = 128       // presentation contexts; their IDs are odd, 1 to 255
	MaxSyntaxes  = 64        // transfer syntaxes in one context
	MaxPDVs      = 1024      // fragments in one P-DATA-TF
	MaxUID       = 64        // characters of a UID (PS3.5 §9.1)
)

// Types of PDU, the first byte on the wire.
const (
	typeAssociateRQ = 0x01
	typeAssociateAC = 0x02
	typeAssociateRJ = 0x03
	typeData        = 0x04
	typeReleaseRQ   = 0x05
	typeReleaseRP   = 0x06
	typeAbort       = 0x07
)

// A PDU is one of *AssociateRQ, *AssociateAC, *AssociateRJ, *Data, *ReleaseRQ,
// *ReleaseRP and *Abort.
type PDU interface {
	fmt.Stringer
	kind() byte
	body(b []byte) []byte
}

// AssociateRQ asks for an association (§9.3.2).
type AssociateRQ struct {
	Version     uint16 // bit 0: version 1
	Called      string // AE title, spaces trimmed
	Calling     string
	Application string // application context name
	Contexts    []Context
	User        User
}

// Context is a presentation context as the caller proposes it (§9.3.2.2).
type Context struct {
	ID       byte
	Abstract string   // the SOP class
	Transfer []string // in the caller's order
}

// User is the user information of both sides (PS3.8 annex D, PS3.7 §D.3.3).
// Sub-items not named here are skipped: the standard wants them ignored.
type User struct {
	MaxLength   uint32 // largest P-DATA-TF the sender of this takes; 0: no limit
	ClassUID    string // implementation class
	VersionName string // implementation version
	// Provides are SOP classes whose sender wants to be the provider of (PS3.7
	// §D.3.3.4). Written only; what a peer proposes here is not looked at.
	Provides []string
}

// AssociateAC accepts (§9.3.3). Called and Calling repeat the request and are not
// to be tested.
type AssociateAC struct {
	Version     uint16
	Called      string
	Calling     string
	Application string
	Results     []Result
	User        User
}

// Result is the answer to one proposed context (§9.3.3.2).
type Result struct {
	ID       byte
	Reason   byte   // one of the Context… constants
	Transfer string // the chosen one; not significant unless accepted
}

// Reasons of a Result.
const (
	ContextAccepted       = 0
	ContextUserRejection  = 1
	ContextNoReason       = 2
	ContextNoAbstract     = 3 // abstract syntax not supported
	ContextNoTransfer     = 4 // none of the transfer syntaxes supported
	ApplicationContextUID = "1.2.840.10008.3.1.1.1"
)

// AssociateRJ refuses an association (§9.3.4).
type AssociateRJ struct{ Result, Source, Reason byte }

// Values of an AssociateRJ (table 9-21); the reasons belong to their source.
const (
	RejectedPermanent = 1
	RejectedTransient = 2

	SourceUser         = 1
	SourceACSE         = 2
	SourcePresentation = 3

	UserNoReason        = 1
	UserNoApplication   = 2
	UserCallingUnknown  = 3
	UserCalledUnknown   = 7
	ACSENoReason        = 1
	ACSEVersion         = 2
	PresentationCongest = 1
	PresentationLimit   = 2
)

// Data carries fragments of messages (§9.3.5).
type Data struct{ PDVs []PDV }

// PDV is one presentation data value (§9.3.5.1, annex E.2). A PDV that came from
// a Reader shares the Reader's buffer: it is good until the next Read.
type PDV struct {
	Context byte
	Command bool // a piece of the command set, not of the data set
	Last    bool
	Value   []byte
}

// ReleaseRQ asks for an orderly end (§9.3.6).
type ReleaseRQ struct{}

// ReleaseRP grants it (§9.3.7).
type ReleaseRP struct{}

// Abort ends at once (§9.3.8).
type Abort struct{ Source, Reason byte }

// Values of an Abort.
const (
	AbortUser     = 0
	AbortProvider = 2

	AbortNotSpecified = 0
	AbortUnrecognized = 1 // unrecognised PDU
	AbortUnexpected   = 2 // PDU unexpected in this state
	AbortParameter    = 6 // invalid PDU parameter value
)

func (*AssociateRQ) kind() byte { return typeAssociateRQ }
func (*AssociateAC) kind() byte { return typeAssociateAC }
func (*AssociateRJ) kind() byte { return typeAssociateRJ }
func (*Data) kind() byte        { return typeData }
func (*ReleaseRQ) kind() byte   { return typeReleaseRQ }
func (*ReleaseRP) kind() byte   { return typeReleaseRP }
func (*Abort) kind() byte       { return typeAbort }

func (p *AssociateRQ) String() string {
	return fmt.Sprintf("A-ASSOCIATE-RQ %s -> %s, %d contexts", p.Calling, p.Called, len(p.Contexts))
}

func (p *AssociateAC) String() string {
	accepted := 0
	for _, r := range p.Results {
		if r.Reason == ContextAccepted {
			accepted++
		}
	}
	return fmt.Sprintf("A-ASSOCIATE-AC %d of %d contexts", accepted, len(p.Results))
}

func (p *AssociateRJ) String() string {
	return fmt.Sprintf("A-ASSOCIATE-RJ result %d source %d reason %d", p.Result, p.Source, p.Reason)
}

func (p *Data) String() string { return fmt.Sprintf("P-DATA-TF %d values", len(p.PDVs)) }

func (*ReleaseRQ) String() string { return "A-RELEASE-RQ" }
func (*ReleaseRP) String() string { return "A-RELEASE-RP" }

func (p *Abort) String() string {
	return fmt.Sprintf("A-ABORT source %d reason %d", p.Source, p.Reason)
}
