package site

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Change is one value that two site files give differently.
type Change struct {
	Key string `json:"key"` // dotted, as in complaints
	Was string `json:"was"` // as TOML would say it; empty: it was not there
	Is  string `json:"is"`  // likewise; empty: it is gone
}

// Section is the table at the top of the file the key is in.
func (c Change) Section() string {
	section, _, _ := strings.Cut(c.Key, ".")
	return section
}

// Diff returns what is different in meaning from old to f, by key: comments, order and
// space change nothing.
func (f *File) Diff(old *File) ([]Change, error) {
	is, err := f.values()
	if err != nil {
		return nil, err
	}
	was, err := old.values()
	if err != nil {
		return nil, err
	}
	changes := []Change{}
	for key, v := range is {
		if was[key] != v {
			changes = append(changes, Change{key, was[key], v})
		}
	}
	for key, v := range was {
		if _, ok := is[key]; !ok {
			changes = append(changes, Change{key, v, ""})
		}
	}
	slices.SortFunc(changes, func(a, b Change) int { return strings.Compare(a.Key, b.Key) })
	return changes, nil
}

// values flattens the file: dotted key to value.
func (f *File) values() (map[string]string, error) {
	top := map[string]any{}
	if err := decode(f.data, &top, false); err != nil {
		return nil, f.explain(err)
	}
	flat := map[string]string{}
	flatten("", top, flat)
	return flat, nil
}

func flatten(key string, v any, flat map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			flat[key] = "{}"
		}
		for k, x := range v {
			if key != "" {
				k = key + "." + k
			}
			flatten(k, x, flat)
		}
	case []any:
		if !slices.ContainsFunc(v, isTable) {
			flat[key] = spell(v)
			return
		}
		for i, x := range v {
			flatten(fmt.Sprintf("%s[%d]", key, i), x, flat)
		}
	default:
		flat[key] = spell(v)
	}
}

func isTable(v any) bool {
	_, ok := v.(map[string]any)
	return ok
}

// spell writes a value as TOML does, nearly: it is for people.
func spell(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", v)
	case []any:
		var all []string
		for _, x := range v {
			all = append(all, spell(x))
		}
		return "[" + strings.Join(all, ", ") + "]"
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}
