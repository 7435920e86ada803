// Package patch applies JSON Patch (RFC 6902) to a FHIR resource. Its one guarantee:
// what no operation touches stays byte by byte, so that 1.00 stays 1.00; and either all
// operations are done or none.
package patch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"clinicgate/syncd/fhir/tree"
)

// Bounds of a patch.
const (
	maxOps    = 200
	maxResult = 4 << 20 // bytes
)

// Errors a caller answers differently.
var (
	// ErrPatch is a patch that is not one.
	ErrPatch = errors.New("not a JSON Patch")
	// ErrApply is a patch that does not fit the resource.
	ErrApply = errors.New("the patch does not fit the resource")
)

// A value is JSON that can be changed: an object, a list, or the bytes of anything else.
type value struct {
	kind  byte // '{', '[', or 0
	raw   []byte
	names []string
	items []*value
}

// Apply returns the resource after the patch.
func Apply(resource, patch []byte) ([]byte, error) {
	root, err := tree.Parse(resource)
	if err != nil {
		return nil, err
	}
	ops, err := tree.Parse(patch)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPatch, err)
	}
	if !ops.List() || len(ops.Items()) == 0 || len(ops.Items()) > maxOps {
		return nil, fmt.Errorf("%w: want a list of 1 to %d operations", ErrPatch, maxOps)
	}
	doc := load(root)
	for i, op := range ops.Items() {
		if doc, err = apply(doc, op); err != nil {
			return nil, fmt.Errorf("operation %d: %w", i, err)
		}
		if size(doc) > maxResult { // copies of copies grow fast
			return nil, fmt.Errorf("operation %d: %w: over %d bytes", i, ErrApply, maxResult)
		}
	}
	return doc.bytes(), nil
}

func load(n *tree.Node) *value {
	v := &value{}
	switch {
	case n.Object():
		v.kind, v.names = '{', slices.Clone(n.Names())
	case n.List():
		v.kind = '['
	default:
		v.raw = n.Raw()
	}
	for _, one := range n.Items() {
		v.items = append(v.items, load(one))
	}
	return v
}

// apply does one operation (RFC 6902 §4).
func apply(doc *value, op *tree.Node) (*value, error) {
	at, err := pointer(op, "path")
	if err != nil {
		return nil, err
	}
	what := op.Get("op").Text()
	var with *value
	switch what {
	case "add", "replace", "test":
		if op.Get("value") == nil {
			return nil, fmt.Errorf("%w: %s wants a value", ErrPatch, what)
		}
		with = load(op.Get("value"))
	case "move", "copy":
		from, err := pointer(op, "from")
		if err != nil {
			return nil, err
		}
		if with, err = doc.get(from); err != nil {
			return nil, err
		}
		if what == "copy" {
			with = with.copy()
			break
		}
		if len(at) > len(from) && slices.Equal(at[:len(from)], from) {
			return nil, fmt.Errorf("%w: a value moved into itself", ErrApply)
		}
		if doc, err = doc.remove(from); err != nil {
			return nil, err
		}
	case "remove":
		return doc.remove(at)
	default:
		return nil, fmt.Errorf("%w: got op %.20q, want add, remove, replace, move, copy or test", ErrPatch, what)
	}
	switch what {
	case "test":
		have, err := doc.get(at)
		if err != nil {
			return nil, err
		}
		if !same(have, with) {
			return nil, fmt.Errorf("%w: a test does not hold", ErrApply)
		}
		return doc, nil
	case "replace":
		return doc.replace(at, with)
	}
	return doc.add(at, with)
}

// pointer reads a JSON Pointer (RFC 6901).
func pointer(op *tree.Node, name string) ([]string, error) {
	n := op.Get(name)
	s := n.Text()
	if n == nil || s != "" && s[0] != '/' {
		return nil, fmt.Errorf("%w: %s is no JSON Pointer", ErrPatch, name)
	}
	if s == "" {
		return nil, nil
	}
	part := strings.Split(s[1:], "/")
	for i, p := range part {
		part[i] = strings.ReplaceAll(strings.ReplaceAll(p, "~1", "/"), "~0", "~")
	}
	return part, nil
}

var errNothing = fmt.Errorf("%w: there is nothing at the path", ErrApply)

// index finds a member or an item; to is how far a list's index may go.
func (v *value) index(name string, to int) (int, error) {
	switch v.kind {
	case '{':
		if i := slices.Index(v.names, name); i >= 0 {
			return i, nil
		}
	case '[':
		n, err := strconv.Atoi(name)
		if err == nil && n >= 0 && n < to && strconv.Itoa(n) == name { // no leading zeros
			return n, nil
		}
	}
	return 0, errNothing
}

func (v *value) get(path []string) (*value, error) {
	for _, name := range path {
		i, err := v.index(name, len(v.items))
		if err != nil {
			return nil, err
		}
		v = v.items[i]
	}
	return v, nil
}

// parent is what holds the last part of a path.
func (v *value) parent(path []string) (*value, string, error) {
	in, err := v.get(path[:len(path)-1])
	return in, path[len(path)-1], err
}

func (v *value) add(path []string, with *value) (*value, error) {
	if len(path) == 0 {
		return with, nil
	}
	in, name, err := v.parent(path)
	if err != nil {
		return nil, err
	}
	switch {
	case in.kind == '{':
		if i := slices.Index(in.names, name); i >= 0 {
			in.items[i] = with
			return v, nil
		}
		in.names, in.items = append(in.names, name), append(in.items, with)
	case in.kind == '[' && name == "-":
		in.items = append(in.items, with)
	default:
		i, err := in.index(name, len(in.items)+1)
		if err != nil {
			return nil, err
		}
		in.items = slices.Insert(in.items, i, with)
	}
	return v, nil
}

func (v *value) replace(path []string, with *value) (*value, error) {
	if len(path) == 0 {
		return with, nil
	}
	in, name, err := v.parent(path)
	if err != nil {
		return nil, err
	}
	i, err := in.index(name, len(in.items))
	if err != nil {
		return nil, err
	}
	in.items[i] = with
	return v, nil
}

func (v *value) remove(path []string) (*value, error) {
	if len(path) == 0 {
		return nil, fmt.Errorf("%w: the resource itself can't be removed", ErrApply)
	}
	in, name, err := v.parent(path)
	if err != nil {
		return nil, err
	}
	i, err := in.index(name, len(in.items))
	if err != nil {
		return nil, err
	}
	in.items = slices.Delete(in.items, i, i+1)
	if in.kind == '{' {
		in.names = slices.Delete(in.names, i, i+1)
	}
	return v, nil
}

func (v *value) copy() *value {
	c := &value{kind: v.kind, raw: v.raw, names: slices.Clone(v.names)}
	for _, one := range v.items {
		c.items = append(c.items, one.copy())
	}
	return c
}

func size(v *value) int {
	n := len(v.raw) + 2
	for _, name := range v.names {
		n += len(name) + 3
	}
	for _, one := range v.items {
		n += size(one) + 1
	}
	return n
}

// same compares values as RFC 6902 §4.6 wants it: members in any order, numbers by
// what they are worth.
func same(a, b *value) bool {
	if a.kind != b.kind || len(a.items) != len(b.items) {
		return false
	}
	switch a.kind {
	case '[':
		for i := range a.items {
			if !same(a.items[i], b.items[i]) {
				return false
			}
		}
		return true
	case '{':
		for i, name := range a.names {
			j := slices.Index(b.names, name)
			if j < 0 || !same(a.items[i], b.items[j]) {
				return false
			}
		}
		return true
	}
	return bytes.Equal(a.raw, b.raw) || sameText(a.raw, b.raw) || sameNumber(a.raw, b.raw)
}

func sameText(a, b []byte) bool {
	var x, y string
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && a[0] == '"' && b[0] == '"' && x == y
}

// maxNumber bounds numbers that are compared by worth: 1e999999999 is not worth it.
const maxNumber = 64

func sameNumber(a, b []byte) bool {
	if len(a) > maxNumber || len(b) > maxNumber || bytes.ContainsAny(a, "eE\"") || bytes.ContainsAny(b, "eE\"") {
		return false
	}
	x, ok := new(big.Rat).SetString(string(a))
	y, ok2 := new(big.Rat).SetString(string(b))
	return ok && ok2 && x.Cmp(y) == 0
}

func (v *value) bytes() []byte {
	var b bytes.Buffer
	v.write(&b)
	return b.Bytes()
}

func (v *value) write(b *bytes.Buffer) {
	if v.kind == 0 {
		b.Write(v.raw)
		return
	}
	b.WriteByte(v.kind)
	for i, one := range v.items {
		if i > 0 {
			b.WriteByte(',')
		}
		if v.kind == '{' {
			name, _ := json.Marshal(v.names[i]) // a string
			b.Write(name)
			b.WriteByte(':')
		}
		one.write(b)
	}
	b.WriteByte(v.kind + 2) // '}' and ']' are two behind theirs
}
