package serve

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"strings"

	"clinicgate/firmware/panel/phrase"
	"clinicgate/firmware/panel/view"
)

//go:embed page.html
var pageText string

//go:embed asset
var assetFiles embed.FS

// sections are the parts of the page, in their order.
var sections = [...]string{"head", "alarms", "queue", "consult", "records", "rooms", "lines", "box"}

// Part is a section of the page that is renewed by itself.
type Part struct {
	ID   string
	HTML template.HTML
}

// asset is a file that never changes under its name: the name has its digest.
type asset struct {
	kind string
	body []byte
}

// Pages writes the page in every language.
type Pages struct {
	assets  map[string]asset  // by path
	named   map[string]string // path by file name
	version string            // of page and assets together
	langs   map[phrase.Lang]*template.Template
}

var kinds = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// NewPages reads what is built in.
func NewPages() (*Pages, error) {
	p := &Pages{assets: map[string]asset{}, named: map[string]string{}, langs: map[phrase.Lang]*template.Template{}}
	files, err := fs.ReadDir(assetFiles, "asset")
	if err != nil {
		return nil, fmt.Errorf("read assets: %w", err)
	}
	all := sha256.New()
	all.Write([]byte(pageText))
	for _, f := range files {
		body, err := assetFiles.ReadFile("asset/" + f.Name())
		if err != nil {
			return nil, fmt.Errorf("read assets: %w", err)
		}
		all.Write(body)
		at := "/a/" + digest(body) + "/" + f.Name()
		p.assets[at], p.named[f.Name()] = asset{kinds[path.Ext(f.Name())], body}, at
	}
	p.version = base64.RawURLEncoding.EncodeToString(all.Sum(nil))[:12]
	for _, l := range phrase.Langs {
		t, err := template.New("").Funcs(template.FuncMap{"t": l.Text}).Parse(pageText)
		if err != nil {
			return nil, fmt.Errorf("read page: %w", err)
		}
		p.langs[l] = t
	}
	return p, nil
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return base64.RawURLEncoding.EncodeToString(sum[:])[:12]
}

// Parts writes the sections of one page.
func (p *Pages) Parts(v view.Page) ([]Part, error) {
	var out []Part
	for _, id := range sections {
		html, err := p.write(v.Lang, id, v)
		if err != nil {
			return nil, err
		}
		out = append(out, Part{id, template.HTML(html)}) // escaped when it was written
	}
	return out, nil
}

// Page writes the whole page around its parts.
func (p *Pages) Page(v view.Page, parts []Part) (string, error) {
	return p.write(v.Lang, "page", struct {
		P                            view.Page
		Parts                        []Part
		Langs                        []phrase.Lang
		Style, Script, Icon, Version string
	}{
		P: v, Parts: parts, Langs: phrase.Langs[:], Style: p.named["style.css"], Script: p.named["live.js"], Icon: p.named["icon.svg"],
		Version: p.version,
	})
}

// ECG writes the page where a doctor logs in and looks at ECGs. It has none: the
// browser fetches them from records, with a token of the service at login.
func (p *Pages) ECG(l phrase.Lang, records, login string) (string, error) {
	return p.write(l, "ecg", struct {
		Lang                                phrase.Lang
		Style, Script, Icon, Records, Login string
	}{l, p.named["style.css"], p.named["ecg.js"], p.named["icon.svg"], records, login})
}

// Refused writes an answer that is not the page.
func (p *Pages) Refused(l phrase.Lang, says string) (string, error) {
	return p.write(l, "refused", struct {
		Lang        phrase.Lang
		Style, Says string
	}{l, p.named["style.css"], says})
}

func (p *Pages) write(l phrase.Lang, name string, v any) (string, error) {
	var b strings.Builder
	if err := p.langs[l].ExecuteTemplate(&b, name, v); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return b.String(), nil
}
