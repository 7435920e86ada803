// Package tpm speaks to the box's TPM 2.0: its clock, its registers, and keys that are
// made in it and never leave it. Codes and layouts are those of the Trusted
// Platform Module Library, parts 2 and 3. Answers are bounded and checked; a TPM
// that talks nonsense is an error.
package tpm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A Chip is a TPM for keys: a device that carries one command and brings back one
// response, as /dev/tpmrm0 does, and one command at a time.
type Chip struct {
	mu     sync.Mutex
	device io.ReadWriter
}

// NewChip returns the TPM behind a device.
func NewChip(device io.ReadWriter) *Chip { return &Chip{device: device} }

func (c *Chip) command(tag uint16, code uint32, params []byte) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return command(c.device, tag, code, params)
}

const (
	tagNoSessions = 0x8001
	tagSessions   = 0x8002
	tagHashCheck  = 0x8024

	ccClockSet         = 0x0128
	ccCreatePrimary    = 0x0131
	ccECDHZGen         = 0x0154
	ccHMAC             = 0x0155
	ccSign             = 0x015D
	ccFlushContext     = 0x0165
	ccStartAuthSession = 0x0176
	ccPCRRead          = 0x017E
	ccPolicyPCR        = 0x017F
	ccReadClock        = 0x0181

	sessionPolicy = 0x01

	rhOwner    = 0x40000001
	rhNull     = 0x40000007
	rsPassword = 0x40000009

	maxResponse = 4096
)

// A Code is how a TPM refuses (part 2 §6.6).
type Code uint32

func (c Code) Error() string { return fmt.Sprintf("TPM says %#x", uint32(c)) }

// policyFailed is TPM_RC_POLICY_FAIL, of whichever session.
func (c Code) policyFailed() bool { return c&0xBF == 0x9D }

// primary has the TPM derive a key of the owner hierarchy and returns its handle and
// what follows the size of the parameters: the public area first.
func (c *Chip) primary(password, template []byte) (handle uint32, body []byte, err error) {
	p := authorized(rhOwner, nil)
	p = sized(p, append(sized(nil, password), 0, 0)) // TPM2B_SENSITIVE_CREATE: password, no data
	p = sized(p, template)
	p = append(p, 0, 0, 0, 0, 0, 0) // no outside info, no PCRs
	body, err = c.command(tagSessions, ccCreatePrimary, p)
	if err != nil {
		return 0, nil, err
	}
	if len(body) < 10 {
		return 0, nil, fmt.Errorf("got %d bytes, want a handle and a public area", len(body))
	}
	return binary.BigEndian.Uint32(body), body[8:], nil
}

// spread makes of a salt what stands in a template or guards a key.
func spread(label string, salt []byte) []byte {
	sum := sha256.Sum256(append([]byte(label+"\x00"), salt...))
	return sum[:]
}

// authorized are a handle and its password (part 1 §19.4), empty or not.
func authorized(handle uint32, password []byte) []byte {
	p := binary.BigEndian.AppendUint32(nil, handle)
	p = binary.BigEndian.AppendUint32(p, uint32(9+len(password))) // size of the authorization
	p = binary.BigEndian.AppendUint32(p, rsPassword)
	p = append(p, 0, 0, 0) // no nonce, no attributes
	return sized(p, password)
}

// sized appends a TPM2B: its length in two bytes, and it.
func sized(p, b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(p, uint16(len(b))), b...)
}

// command sends one command and returns the response behind its header.
func command(device io.ReadWriter, tag uint16, code uint32, params []byte) ([]byte, error) {
	cmd := binary.BigEndian.AppendUint16(nil, tag)
	cmd = binary.BigEndian.AppendUint32(cmd, uint32(10+len(params)))
	cmd = binary.BigEndian.AppendUint32(cmd, code)
	if _, err := device.Write(append(cmd, params...)); err != nil {
		return nil, err
	}
	resp := make([]byte, maxResponse)
	n, err := device.Read(resp)
	if err != nil {
		return nil, err
	}
	if n < 10 {
		return nil, errors.New("response is too short")
	}
	if rc := binary.BigEndian.Uint32(resp[6:]); rc != 0 {
		return nil, Code(rc)
	}
	return resp[10:n], nil
}
