package patch

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestApply(t *testing.T) {
	const obs = `{"resourceType":"Observation","status":"final","valueQuantity":{"value":1.00,"unit":"mg"},"note":[{"text":"a"},{"text":"b"}],"a/b":1,"m~n":2}`
	for name, c := range map[string]struct{ doc, patch, want string }{
		"replace keeps other bytes":  {obs, `[{"op":"replace","path":"/status","value":"amended"}]`, strings.Replace(obs, `"final"`, `"amended"`, 1)},
		"replace a number":           {obs, `[{"op":"replace","path":"/valueQuantity/value","value":2.50}]`, strings.Replace(obs, `1.00`, `2.50`, 1)},
		"add a member":               {`{"a":1}`, `[{"op":"add","path":"/b","value":[true]}]`, `{"a":1,"b":[true]}`},
		"add over a member":          {`{"a":1}`, `[{"op":"add","path":"/a","value":null}]`, `{"a":null}`},
		"add in a list":              {`{"l":[1,3]}`, `[{"op":"add","path":"/l/1","value":2}]`, `{"l":[1,2,3]}`},
		"add behind a list":          {`{"l":[1]}`, `[{"op":"add","path":"/l/-","value":2},{"op":"add","path":"/l/2","value":3}]`, `{"l":[1,2,3]}`},
		"remove":                     {`{"a":1,"l":[1,2,3]}`, `[{"op":"remove","path":"/a"},{"op":"remove","path":"/l/1"}]`, `{"l":[1,3]}`},
		"move":                       {`{"a":{"x":1},"b":{}}`, `[{"op":"move","from":"/a/x","path":"/b/y"}]`, `{"a":{},"b":{"y":1}}`},
		"move in a list":             {`{"l":[1,2,3]}`, `[{"op":"move","from":"/l/0","path":"/l/2"}]`, `{"l":[2,3,1]}`},
		"copy is a copy":             {`{"a":{"x":1}}`, `[{"op":"copy","from":"/a","path":"/b"},{"op":"replace","path":"/b/x","value":2}]`, `{"a":{"x":1},"b":{"x":2}}`},
		"test holds":                 {obs, `[{"op":"test","path":"/valueQuantity","value":{"unit":"mg","value":1.0}},{"op":"test","path":"/note/1/text","value":"\u0062"}]`, obs},
		"escaped names":              {`{"a/b":1,"m~n":2}`, `[{"op":"test","path":"/a~1b","value":1},{"op":"remove","path":"/m~0n"}]`, `{"a/b":1}`},
		"the whole":                  {`{"a":1}`, `[{"op":"replace","path":"","value":{"b":2}}]`, `{"b":2}`},
		"unknown members are let be": {`{"a":1}`, `[{"op":"add","path":"/b","value":2,"xyz":3}]`, `{"a":1,"b":2}`},
	} {
		got, err := Apply([]byte(c.doc), []byte(c.patch))
		if err != nil || string(got) != c.want {
			t.Errorf("%s: got %s, %v; want %s", name, got, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		patch string
		want  error
	}{
		"no list":             {`{"op":"add"}`, ErrPatch},
		"empty":               {`[]`, ErrPatch},
		"not JSON":            {`[`, ErrPatch},
		"no op":               {`[{"path":"/status"}]`, ErrPatch},
		"no path":             {`[{"op":"remove"}]`, ErrPatch},
		"no value":            {`[{"op":"add","path":"/x"}]`, ErrPatch},
		"not a pointer":       {`[{"op":"remove","path":"status"}]`, ErrPatch},
		"no from":             {`[{"op":"move","path":"/x"}]`, ErrPatch},
		"a test fails":        {`[{"op":"replace","path":"/status","value":"x"},{"op":"test","path":"/status","value":"y"}]`, ErrApply},
		"nothing there":       {`[{"op":"replace","path":"/nothing","value":1}]`, ErrApply},
		"no parent":           {`[{"op":"add","path":"/nothing/x","value":1}]`, ErrApply},
		"behind the end":      {`[{"op":"add","path":"/note/3","value":1}]`, ErrApply},
		"leading zero":        {`[{"op":"remove","path":"/note/01"}]`, ErrApply},
		"minus to remove":     {`[{"op":"remove","path":"/note/-"}]`, ErrApply},
		"into itself":         {`[{"op":"move","from":"/note","path":"/note/0"}]`, ErrApply},
		"the whole removed":   {`[{"op":"remove","path":""}]`, ErrApply},
		"1 is not its text":   {`[{"op":"test","path":"/a~1b","value":"1"}]`, ErrApply},
		"a bomb of copies":    {"[" + strings.Repeat(`{"op":"copy","from":"","path":"/note/-"},`, 60) + `{"op":"remove","path":"/x"}]`, ErrApply},
		"too many":            {"[" + strings.Repeat(`{"op":"remove","path":"/x"},`, 200) + `{"op":"remove","path":"/x"}]`, ErrPatch},
		"a name twice in one": {`[{"op":"remove","path":"/x","path":"/y"}]`, ErrPatch},
	} {
		if got, err := Apply([]byte(obs), []byte(c.patch)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %s, %v; want %v", name, got, err, c.want)
		}
	}
}

func FuzzApply(f *testing.F) {
	f.Add(`{"resourceType":"Observation","value":1.00}`, `[{"op":"replace","path":"/value","value":2}]`)
	f.Add(`{"l":[1,2]}`, `[{"op":"move","from":"/l/0","path":"/l/-"},{"op":"test","path":"/l","value":[2,1]}]`)
	f.Add(`{"a":{"b":[]}}`, `[{"op":"copy","from":"/a","path":"/a/b/0"},{"op":"remove","path":""}]`)
	f.Fuzz(func(t *testing.T, doc, ops string) {
		got, err := Apply([]byte(doc), []byte(ops))
		if err != nil {
			return
		}
		var v any
		if json.Unmarshal(got, &v) != nil {
			t.Fatalf("%q by %q became %q", doc, ops, got)
		}
		// A patch that puts a value in its own place changes nothing.
		again, err := Apply(got, []byte(`[{"op":"copy","from":"","path":""}]`))
		var w any
		if err == nil && (json.Unmarshal(again, &w) != nil || !reflect.DeepEqual(v, w)) {
			t.Fatalf("%q became %q", got, again)
		}
	})
}
