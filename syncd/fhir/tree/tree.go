// Package tree shows a JSON text as a tree without taking it apart: every node
// knows where its bytes stand, so that a few of them can be replaced and all others
// stay as they came. Its guarantee: two readers of a text it took see the same
// names and values; what readers differ in (a name twice, or in two spellings,
// broken UTF-8, no end) is refused.
package tree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrJSON is a text that is not taken. It quotes nothing of it.
var ErrJSON = errors.New("not well-formed JSON")

// Bounds of a text, beside its size, which is the caller's.
const (
	maxDepth = 64
	maxNodes = 200_000
)

// A Node is one value.
type Node struct {
	Start, End int // of its bytes in the text
	kind       byte
	text       []byte // the whole text
	names      []string
	items      []*Node
}

// Parse reads a text, which the nodes go on to point into.
func Parse(text []byte) (*Node, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrJSON)
	}
	p := &parser{text: text, dec: json.NewDecoder(bytes.NewReader(text))}
	p.dec.UseNumber()
	n, err := p.value(0)
	if err != nil {
		return nil, err
	}
	if _, err := p.dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: more after the end", ErrJSON)
	}
	return n, nil
}

type parser struct {
	text  []byte
	dec   *json.Decoder
	nodes int
}

// token reads the next token and says where it stands.
func (p *parser) token() (t json.Token, start, end int, err error) {
	start = int(p.dec.InputOffset())
	t, err = p.dec.Token()
	end = int(p.dec.InputOffset())
	if err != nil {
		return nil, start, end, fmt.Errorf("%w: breaks at byte %d", ErrJSON, end)
	}
	for start < end && strings.IndexByte(" \t\r\n,:", p.text[start]) >= 0 {
		start++
	}
	return t, start, end, nil
}

func (p *parser) value(depth int) (*Node, error) {
	t, start, end, err := p.token()
	if err != nil {
		return nil, err
	}
	if p.nodes++; p.nodes > maxNodes || depth > maxDepth {
		return nil, fmt.Errorf("%w: more than %d values or %d levels", ErrJSON, maxNodes, maxDepth)
	}
	n := &Node{Start: start, End: end, kind: p.text[start], text: p.text}
	switch t {
	case json.Delim('{'):
		err = p.object(n, depth)
	case json.Delim('['):
		err = p.list(n, depth)
	}
	return n, err
}

func (p *parser) object(n *Node, depth int) error {
	seen := map[string]bool{}
	for p.dec.More() {
		t, at, _, err := p.token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if folded := strings.ToLower(name); seen[folded] {
			return fmt.Errorf("%w: a name is there twice, at byte %d", ErrJSON, at)
		} else {
			seen[folded] = true
		}
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.names, n.items = append(n.names, name), append(n.items, v)
	}
	return p.close(n)
}

func (p *parser) list(n *Node, depth int) error {
	for p.dec.More() {
		v, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, v)
	}
	return p.close(n)
}

func (p *parser) close(n *Node) (err error) {
	_, _, n.End, err = p.token()
	return err
}

// Object and List say what a node is. A nil node is nothing.
func (n *Node) Object() bool { return n != nil && n.kind == '{' }

// List says whether a node is a list.
func (n *Node) List() bool { return n != nil && n.kind == '[' }

// Get follows names down from an object; nil when there is no such value.
func (n *Node) Get(path ...string) *Node {
	for _, name := range path {
		if !n.Object() {
			return nil
		}
		i := slices.Index(n.names, name)
		if i < 0 {
			return nil
		}
		n = n.items[i]
	}
	return n
}

// Items are the values of a list, or of an object in its order.
func (n *Node) Items() []*Node {
	if n == nil {
		return nil
	}
	return n.items
}

// Names are those of an object, in its order.
func (n *Node) Names() []string {
	if n == nil {
		return nil
	}
	return n.names
}

// Text is a string's value; empty for anything else.
func (n *Node) Text() string {
	var s string
	if n == nil || n.kind != '"' || json.Unmarshal(n.Raw(), &s) != nil {
		return ""
	}
	return s
}

// Raw is the node's bytes.
func (n *Node) Raw() []byte {
	if n == nil {
		return nil
	}
	return n.text[n.Start:n.End]
}

// Walk visits a node and all below it. name is that of the object member a value
// is, or is in a list of.
func (n *Node) Walk(visit func(name string, v *Node)) { n.walk("", visit) }

func (n *Node) walk(name string, visit func(string, *Node)) {
	visit(name, n)
	for i, v := range n.items {
		if n.kind == '{' {
			name = n.names[i]
		}
		v.walk(name, visit)
	}
}

// An Edit puts With in the place of the bytes from Start to End of a text.
type Edit struct {
	Start, End int
	With       []byte
}

// Edited is a node's bytes after edits, of which those outside of it don't count.
// They must not overlap.
func (n *Node) Edited(edits []Edit) []byte {
	edits = slices.Clone(edits)
	slices.SortStableFunc(edits, func(a, b Edit) int { return a.Start - b.Start })
	out := make([]byte, 0, n.End-n.Start+64*len(edits))
	at := n.Start
	for _, e := range edits {
		if e.Start < at || e.End > n.End {
			continue
		}
		out = append(append(out, n.text[at:e.Start]...), e.With...)
		at = e.End
	}
	return append(out, n.text[at:n.End]...)
}
