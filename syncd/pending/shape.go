package pending

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"clinicgate/syncd/fhir"
	"clinicgate/syncd/fhir/tree"
)

// A mark is a tag or an identifier of ours.
type mark struct{ system, code, display string }

func (m mark) tag() string {
	text, _ := json.Marshal(struct { // of strings
		System  string `json:"system"`
		Code    string `json:"code"`
		Display string `json:"display,omitempty"`
	}{m.system, m.code, m.display})
	return string(text)
}

// A shape is how a resource is to look; all that it does not name stays byte by byte.
type shape struct {
	id         string // empty: none
	version    string // meta.versionId; empty: none
	tags       []mark // beside those that are not ours
	identifier string // of EditSystem; empty: as it is
}

// ErrShape is a resource that can't be carried.
var ErrShape = errors.New("resource can't be carried")

// apply returns the resource so. Marks that an earlier version had are taken off.
func (sh shape) apply(body []byte) ([]byte, error) {
	root, err := tree.Parse(body)
	if err != nil {
		return nil, err
	}
	for _, list := range []*tree.Node{root.Get("identifier"), root.Get("meta", "tag")} {
		if list != nil && !list.List() {
			return nil, fmt.Errorf("%w: identifier and meta.tag are lists", ErrShape)
		}
	}
	if !root.Object() {
		return nil, fmt.Errorf("%w: not an object", ErrShape)
	}
	var out []string
	member := func(name, raw string) {
		key, _ := json.Marshal(name) // a string
		out = append(out, string(key)+":"+raw)
	}
	if t := root.Get("resourceType"); t != nil {
		member("resourceType", string(t.Raw()))
	}
	if sh.id != "" {
		member("id", `"`+sh.id+`"`)
	}
	if meta := sh.meta(root.Get("meta")); meta != "" {
		member("meta", meta)
	}
	if ids := sh.identifiers(root.Get("identifier")); ids != "" {
		member("identifier", ids)
	}
	for i, name := range root.Names() {
		if !slices.Contains([]string{"resourceType", "id", "meta", "identifier"}, name) {
			member(name, string(root.Items()[i].Raw()))
		}
	}
	return []byte("{" + strings.Join(out, ",") + "}"), nil
}

func (sh shape) meta(old *tree.Node) string {
	var out []string
	if sh.version != "" {
		out = append(out, `"versionId":"`+sh.version+`"`)
	}
	var tags []string
	for _, t := range old.Get("tag").Items() {
		if !ours(t.Get("system").Text()) {
			tags = append(tags, string(t.Raw()))
		}
	}
	for _, m := range sh.tags {
		tags = append(tags, m.tag())
	}
	if len(tags) > 0 {
		out = append(out, `"tag":[`+strings.Join(tags, ",")+`]`)
	}
	for i, name := range old.Names() {
		if !slices.Contains([]string{"versionId", "lastUpdated", "tag"}, name) {
			key, _ := json.Marshal(name)
			out = append(out, string(key)+":"+string(old.Items()[i].Raw()))
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "{" + strings.Join(out, ",") + "}"
}

func (sh shape) identifiers(old *tree.Node) string {
	if sh.identifier == "" {
		if old == nil {
			return ""
		}
		return string(old.Raw())
	}
	var all []string
	for _, one := range old.Items() {
		if one.Get("system").Text() != EditSystem {
			all = append(all, string(one.Raw()))
		}
	}
	return "[" + strings.Join(append(all, `{"system":"`+EditSystem+`","value":"`+sh.identifier+`"}`), ",") + "]"
}

func ours(system string) bool {
	return system == EditSystem || system == PendingSystem || system == HiddenSystem
}

// Plain is a resource as its author means it, under an id: without versions and marks.
func Plain(body []byte, id string) ([]byte, error) { return shape{id: id}.apply(body) }

// hiddenMark is on what was hidden.
func hiddenMark() mark { return mark{HiddenSystem, "hidden", "hidden, not deleted"} }

// shown is how a pending change is given to readers here.
func (e *Edit) shown(i int) ([]byte, error) {
	c := &e.Changes[i]
	sh := shape{id: c.Ref.ID, version: e.Version(i), tags: []mark{{PendingSystem, "pending", "not at the EHR yet"}}}
	if c.New {
		sh.identifier = e.Mark(i)
	}
	if c.Hide {
		sh.tags = append(sh.tags, hiddenMark())
	}
	return sh.apply(c.Body)
}

// sent is how a change goes to the EHR, its references already turned.
func (e *Edit) sent(i int, id string, body []byte) ([]byte, error) {
	c := &e.Changes[i]
	sh := shape{id: id, tags: []mark{{EditSystem, e.Mark(i), ""}}}
	if c.New {
		sh.identifier = e.Mark(i)
	}
	if c.Hide {
		sh.tags = append(sh.tags, hiddenMark())
	}
	return sh.apply(body)
}

// Hidden says whether a resource carries the mark of one that was hidden.
func Hidden(body []byte) bool { return marked(body, HiddenSystem, "hidden") }

// marked says whether a resource has a tag.
func marked(body []byte, system, code string) bool {
	if !bytes.Contains(body, []byte(system)) {
		return false // nearly all: not worth reading
	}
	var r struct {
		Meta struct{ Tag []fhir.Coding }
	}
	if json.Unmarshal(body, &r) != nil {
		return false
	}
	return slices.ContainsFunc(r.Meta.Tag, func(c fhir.Coding) bool { return c.System == system && c.Code == code })
}

// turned replaces references: to says what one becomes, and whether it is known.
func turned(body []byte, to func(string) (string, bool)) ([]byte, error) {
	root, err := tree.Parse(body)
	if err != nil {
		return nil, err
	}
	var edits []tree.Edit
	root.Walk(func(name string, v *tree.Node) {
		if name != "reference" {
			return
		}
		if now, ok := to(v.Text()); ok {
			text, _ := json.Marshal(now) // a string
			edits = append(edits, tree.Edit{Start: v.Start, End: v.End, With: text})
		}
	})
	return root.Edited(edits), nil
}

// Carries says whether a version of a resource is the one that an edit made, or one
// made of it by others.
func Carries(body []byte, mark string) bool { return marked(body, EditSystem, mark) }

// Named says whether a resource has that mark as identifier.
func Named(body []byte, mark string) bool {
	var r struct {
		Identifier []struct{ System, Value string }
	}
	if json.Unmarshal(body, &r) != nil {
		return false
	}
	for _, id := range r.Identifier {
		if id.System == EditSystem && id.Value == mark {
			return true
		}
	}
	return false
}
