package telemetry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"clinicgate/firmware/bundle"
)

// A Line is one log line of the box, as it goes to a collector.
type Line struct {
	At      time.Time
	Level   string // "DEBUG", "INFO", "WARN", "ERROR"
	Program string
	Msg     string
	Attrs   map[string]string
}

// maxLine bounds what is taken of a line, and maxAttrs how many attributes.
const (
	maxLine  = 4 << 10
	maxAttrs = 32
)

// Parse reads a line of the box's log, which is JSON, and strikes what looks like a
// person: what leaves the clinic is looked at once more. What is no JSON is a line of
// its words alone.
func Parse(text string, now time.Time) Line {
	l := Line{At: now, Level: "INFO", Program: "box", Attrs: map[string]string{}}
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "")
	}
	struck := bundle.Text([]byte(text))
	var fields map[string]any
	if err := json.Unmarshal(struck, &fields); err != nil {
		l.Msg = string(struck)
		return l
	}
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		s := words(fields[k])
		switch k {
		case "time":
			if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
				l.At = at
			}
		case "level":
			l.Level = s
		case "program":
			l.Program = s
		case "msg":
			l.Msg = s
		default:
			if len(l.Attrs) < maxAttrs {
				l.Attrs[k] = s
			}
		}
	}
	return l
}

func words(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	text, err := json.Marshal(v)
	if err != nil { // it came from JSON
		return ""
	}
	return string(text)
}

// severity is RFC 5424's, table 2, and OpenTelemetry's number for the same.
func (l Line) severity() (syslog, otel int) {
	switch l.Level {
	case "ERROR":
		return 3, 17
	case "WARN":
		return 4, 13
	case "DEBUG":
		return 7, 5
	}
	return 6, 9
}

// facility is "system daemons" (RFC 5424, table 1).
const facility = 3

// Syslog writes the line as RFC 5424 wants it, for a box of that name. Attributes are
// structured data under the private number reserved for examples (RFC 5612).
func (l Line) Syslog(host string) []byte {
	severity, _ := l.severity()
	var b strings.Builder
	fmt.Fprintf(&b, "<%d>1 %s %s %s - - ", facility*8+severity, l.At.UTC().Format("2006-01-02T15:04:05.000000Z"), printable(host, 255), printable(l.Program, 48))
	if len(l.Attrs) == 0 {
		b.WriteByte('-')
	} else {
		b.WriteString("[cg@32473")
		for _, k := range slices.Sorted(maps.Keys(l.Attrs)) {
			fmt.Fprintf(&b, ` %s="%s"`, printable(k, 32), quoted.Replace(oneLine(l.Attrs[k])))
		}
		b.WriteByte(']')
	}
	b.WriteByte(' ')
	b.WriteString(oneLine(l.Msg))
	return []byte(b.String())
}

// quoted escapes a parameter's value (RFC 5424, section 6.3.3).
var quoted = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// printable makes a header field: visible ASCII, no quotes, never empty.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune(`="]`, r) {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), most)]
}

// oneLine keeps a message from being two.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// The shapes of OTLP's JSON (opentelemetry-proto, logs/v1).
type (
	otlpValue struct {
		String string `json:"stringValue"`
	}
	otlpAttr struct {
		Key   string    `json:"key"`
		Value otlpValue `json:"value"`
	}
	otlpRecord struct {
		Time     string     `json:"timeUnixNano"`
		Severity int        `json:"severityNumber"`
		Text     string     `json:"severityText"`
		Body     otlpValue  `json:"body"`
		Attrs    []otlpAttr `json:"attributes,omitempty"`
	}
	otlpScope struct {
		Records []otlpRecord `json:"logRecords"`
	}
	otlpResource struct {
		Attrs []otlpAttr `json:"attributes"`
	}
	otlpLogs struct {
		Resource otlpResource `json:"resource"`
		Scopes   []otlpScope  `json:"scopeLogs"`
	}
	otlpExport struct {
		Logs []otlpLogs `json:"resourceLogs"`
	}
)

// OTLP makes one export request of lines, a resource for each program of the box.
func OTLP(host string, lines []Line) ([]byte, error) {
	by := map[string][]otlpRecord{}
	for _, l := range lines {
		_, severity := l.severity()
		r := otlpRecord{Time: strconv.FormatInt(l.At.UnixNano(), 10), Severity: severity, Text: l.Level, Body: otlpValue{oneLine(l.Msg)}}
		for _, k := range slices.Sorted(maps.Keys(l.Attrs)) {
			r.Attrs = append(r.Attrs, otlpAttr{k, otlpValue{l.Attrs[k]}})
		}
		by[l.Program] = append(by[l.Program], r)
	}
	var e otlpExport
	for _, program := range slices.Sorted(maps.Keys(by)) {
		e.Logs = append(e.Logs, otlpLogs{
			Resource: otlpResource{[]otlpAttr{{"service.name", otlpValue{program}}, {"host.name", otlpValue{host}}}},
			Scopes:   []otlpScope{{by[program]}},
		})
	}
	return json.Marshal(e)
}
