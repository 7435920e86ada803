// Package site reads site.toml, the one file that describes a clinic. It splits
// the file into sections, decodes each strictly for the package that owns it, and
// finds the line of any key, so that every complaint says file:line, the key,
// what was found and what was wanted.
package site

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// MaxSize bounds a site file, in bytes. A large clinic's is under 20 KiB.
const MaxSize = 256 << 10

// sections are the top-level tables and who owns them. Anything else at the top
// of the file is refused.
var sections = [...]string{
	"site",   // firmware: name and code of the clinic
	"net",    // netd
	"pair",   // failoverd
	"card",   // cardauth
	"sync",   // syncd
	"update", // firmware/update
	"panel",  // firmware/panel
}

// File is one parsed site file. It is immutable.
type File struct {
	name  string // as shown in errors
	data  []byte
	lines map[string]int // dotted key, tables of arrays as key[0] → line, from 1
}

// Identity is the [site] section.
type Identity struct {
	Name string `toml:"name"` // what people call the clinic, required
	Code string `toml:"code"` // cloud ops' code for it, required
	// Support is cloud ops' public key for support bundles, an age recipient; empty:
	// there is none, and whoever makes one names a key.
	Support string `toml:"support"`
}

// Parse reads the site file data. name is the file's name for error messages.
// It checks TOML and the top-level tables; sections are checked by Decode.
func Parse(name string, data []byte) (*File, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("%s: %d bytes, want at most %d", name, len(data), MaxSize)
	}
	f := &File{name: name, data: data}
	top := map[string]any{}
	if err := decode(data, &top, false); err != nil {
		return nil, f.explain(err)
	}
	f.lines = index(data)
	for key := range top {
		if !slices.Contains(sections[:], key) {
			return nil, f.Errorf(key, "unknown section, want one of [%s]", strings.Join(sections[:], "] ["))
		}
	}
	return f, nil
}

// Identity returns the checked [site] section.
func (f *File) Identity() (Identity, error) {
	var id Identity
	if err := f.Decode("site", &id); err != nil {
		return Identity{}, err
	}
	for _, k := range []struct{ key, got string }{{"site.name", id.Name}, {"site.code", id.Code}} {
		if k.got == "" || len(k.got) > 64 {
			return Identity{}, f.Errorf(k.key, "got %q, want 1 to 64 characters", k.got)
		}
	}
	if id.Support != "" && !supportKey.MatchString(id.Support) {
		return Identity{}, f.Errorf("site.support", "got %q, want an age public key, \"age1\" and 58 letters and digits", id.Support)
	}
	return id, nil
}

// supportKey is how an age X25519 recipient is written (Bech32, BIP 173).
var supportKey = regexp.MustCompile(`^age1[02-9ac-hj-np-z]{58}$`)

// Text returns the file as it was read.
func (f *File) Text() string { return string(f.data) }

// Has reports whether the file has the section.
func (f *File) Has(section string) bool {
	_, ok := f.lines[section]
	return ok
}

// Decode fills into, a pointer to a struct with toml tags, from one section.
// Unknown keys and wrong types are errors. A missing section is an error that
// says so.
func (f *File) Decode(section string, into any) error {
	if !f.Has(section) {
		return fmt.Errorf("%s: section [%s] is missing", f.name, section)
	}
	// One field per section: ours with its real type, the others untyped, so
	// that strictness covers exactly our section.
	fields := make([]reflect.StructField, len(sections))
	ours := -1
	for i, s := range sections {
		fields[i] = reflect.StructField{
			Name: "S" + strings.ToUpper(s[:1]) + s[1:],
			Type: reflect.TypeFor[map[string]any](),
			Tag:  reflect.StructTag(fmt.Sprintf("toml:%q", s)),
		}
		if s == section {
			fields[i].Type = reflect.TypeOf(into).Elem()
			ours = i
		}
	}
	if ours < 0 {
		return fmt.Errorf("%s: no section is called %q", f.name, section)
	}
	doc := reflect.New(reflect.StructOf(fields))
	if err := decode(f.data, doc.Interface(), true); err != nil {
		return f.explain(err)
	}
	reflect.ValueOf(into).Elem().Set(doc.Elem().Field(ours))
	return nil
}

// decode fills into from TOML. go-toml 2.2.4 panics on some tables that use an
// array of tables as if it were a table ("[[net.uplink.0]]"); such a file must
// cost a complaint, not the daemon.
func decode(data []byte, into any, strict bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the tables contradict each other, such as [[a.0]] beside [[a]] (%v)", p)
		}
	}()
	dec := toml.NewDecoder(bytes.NewReader(data))
	if strict {
		dec.DisallowUnknownFields()
	}
	return dec.Decode(into)
}

// Errorf makes an error about a key: "site.toml:14: net.uplink[1].address: …".
// When the key is not in the file the line of its nearest parent is named.
func (f *File) Errorf(key, format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", f.At(key), key, fmt.Errorf(format, args...))
}

// At returns "site.toml:14" for a key, or for its nearest parent in the file.
func (f *File) At(key string) string {
	for k := key; k != ""; k = parent(k) {
		if line, ok := f.lines[k]; ok {
			return fmt.Sprintf("%s:%d", f.name, line)
		}
	}
	return f.name
}

// parent cuts the last step from a dotted key: "a.b[1]" → "a.b" → "a" → "".
func parent(key string) string {
	if i := strings.LastIndexAny(key, ".["); i >= 0 {
		return key[:i]
	}
	return ""
}

// explain turns the decoder's errors into one line each with our file name.
func (f *File) explain(err error) error {
	var strict *toml.StrictMissingError
	if errors.As(err, &strict) {
		var all []error
		for i := range strict.Errors {
			e := &strict.Errors[i]
			row, _ := e.Position()
			all = append(all, fmt.Errorf("%s:%d: %s: unknown key", f.name, row, strings.Join(e.Key(), ".")))
		}
		return errors.Join(all...)
	}
	var de *toml.DecodeError
	if errors.As(err, &de) {
		row, col := de.Position()
		what := strings.TrimPrefix(de.Error(), "toml: ")
		if key := strings.Join(de.Key(), "."); key != "" {
			return fmt.Errorf("%s:%d: %s: %s", f.name, row, key, what)
		}
		return fmt.Errorf("%s:%d:%d: %s", f.name, row, col, what)
	}
	return fmt.Errorf("%s: %w", f.name, err)
}

// Duration is a time.Duration written as "15s" or "300ms".
type Duration time.Duration

// UnmarshalText reads Go's duration notation.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("got %q, want a duration such as \"15s\" or \"300ms\"", text)
	}
	*d = Duration(v)
	return nil
}
