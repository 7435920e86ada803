// Package config reads [sync] of the site file. What Parse returns has been
// checked: nothing behind it looks at a URL, a port or a file name twice.
package config

import (
	"net/url"
	"time"

	"clinicgate/firmware/site"
)

// Kinds of destination.
const (
	KindSTOW = "stow"  // DICOMweb STOW-RS (PS3.18 §10.5)
	KindFHIR = "fhir"  // FHIR R4 Binary and DocumentReference
	KindTus  = "tus"   // resumable uploads (tus 1.0.0)
	KindNode = "dicom" // C-STORE to a DICOM node (PS3.7)
	KindMQTT = "mqtt"  // MQTT 5 to a broker
)

// Formats a destination can accept.
const (
	FormatDICOM  = "dicom"
	FormatSCPECG = "scp-ecg"
	FormatAECG   = "aecg"
	FormatPDF    = "pdf"
	FormatHL7    = "hl7v2"
	FormatFHIR   = "fhir" // resources handed in as such
)

// Config is [sync] of the site file.
type Config struct {
	Site         site.Identity
	Listen       string // FHIR over TLS, "host:port" or ":port"
	Devices      string // file in site/anchors: CA of workstations and devices
	EHR          EHR
	Cache        Cache
	Queue        Queue
	DICOM        *DICOM    // nil: no DICOM node
	MQTT         *MQTT     // nil: no broker
	HL7          *HL7      // nil: no HL7 v2 messages
	Uploads      *Uploads  // nil: none over HTTPS
	Lists        *Lists    // nil: none of revoked cards is fetched
	Apps         *Apps     // nil: no program in a browser sees records
	Worklist     *Worklist // nil: none is kept
	Mirror       *Mirror   // nil: there is no other box
	Vault        *Vault    // nil: there is no third party
	Audit        *Audit    // nil: the trail of accesses stays here
	Warm         *Warm     // nil: nothing is fetched before it is asked for
	Share        Share
	Destinations []Destination
}

// EHR is the clinic's FHIR server in the cloud.
type EHR struct {
	Base    *url.URL      // without a trailing slash
	Timeout time.Duration // for one answer, headers and body
	CA      string        // file in site/anchors: the only CA it may have its certificate from; empty: any the system trusts
	OAuth   *OAuth        // nil: the gateway does not log in
}

// Cache is the policy of the record cache.
type Cache struct {
	Bytes int64         // bound of the cache's log on disk
	Fresh time.Duration // an answer younger than this is given without asking the EHR
	// Behind: one older than that by so much is given, and asked for behind it.
	Behind time.Duration
	// OnFail: one older by so much is given when the EHR can't be asked; zero: any.
	OnFail time.Duration
}

// DICOM is the C-STORE node on the LAN.
type DICOM struct {
	Listen  string
	Title   string            // our AE title
	Callers []string          // AE titles that may send; empty: any
	Peers   map[string]string // AE title → "host:port" where it hears of storage commitment
}

// MQTT is the broker on the LAN.
type MQTT struct {
	Listen string
}

// HL7 is the listener for HL7 v2 results over MLLP on the LAN.
type HL7 struct {
	Listen  string
	Senders []string // sending applications (MSH-3.1) that may send; empty: any
}

// Uploads are taken over HTTPS, at Listen.
type Uploads struct {
	Devices []string // certificate names that may upload with nobody logged in
}

// Destination is a partner that uploads are delivered to.
type Destination struct {
	Name    string
	Kind    string   // one of the Kind… above
	URL     *url.URL // without a trailing slash; of a KindNode dicom://TITLE@host:port, of a KindMQTT mqtts://host:port/TOPIC
	Auth    string   // file in secrets/syncd/ with user:password; empty: none
	Accepts []string // formats, each accepted by one destination only
	Matched bool     // takes only items of a patient the EHR knows
	Broker           // of a KindMQTT
}

// file is [sync] as written. Pointers tell an absent table from an empty one.
type file struct {
	Listen  string `toml:"listen"`
	Devices string `toml:"devices"`
	EHR     *struct {
		Base    string         `toml:"base"`
		Timeout *site.Duration `toml:"timeout"`
		CA      *string        `toml:"ca"`
		OAuth   *oauthFile     `toml:"oauth"`
	} `toml:"ehr"`
	Cache struct {
		SizeMB *int64         `toml:"size_mb"`
		Fresh  *site.Duration `toml:"fresh"`
		Behind *site.Duration `toml:"stale_while_revalidate"`
		OnFail *site.Duration `toml:"stale_if_error"`
	} `toml:"cache"`
	DICOM *struct {
		Listen  string            `toml:"listen"`
		Title   string            `toml:"title"`
		Callers []string          `toml:"callers"`
		Peers   map[string]string `toml:"peers"`
	} `toml:"dicom"`
	MQTT *struct {
		Listen string `toml:"listen"`
	} `toml:"mqtt"`
	HL7 *struct {
		Listen  string   `toml:"listen"`
		Senders []string `toml:"senders"`
	} `toml:"hl7"`
	Uploads *struct {
		Devices []string `toml:"devices"`
	} `toml:"uploads"`
	Lists       *listsFile    `toml:"lists"`
	Apps        *appsFile     `toml:"apps"`
	Worklist    *worklistFile `toml:"worklist"`
	Warm        *warmFile     `toml:"warm"`
	Vault       *vaultFile    `toml:"vault"`
	Audit       *auditFile    `toml:"audit"`
	Queue       *queueFile    `toml:"queue"`
	Mirror      *mirrorFile   `toml:"mirror"`
	Share       *shareFile    `toml:"share"`
	Destination []struct {
		Name     string   `toml:"name"`
		Kind     string   `toml:"kind"`
		URL      string   `toml:"url"`
		Auth     string   `toml:"auth"`
		Accepts  []string `toml:"accepts"`
		Patients string   `toml:"patients"`
		brokerFile
	} `toml:"destination"`
}

// Defaults of keys that may be left out.
const (
	defaultTimeout = 5 * time.Second
	defaultSizeMB  = 512
)

// Parse reads and checks the section. All complaints come at once.
func Parse(f *site.File) (Config, error) {
	id, err := f.Identity()
	if err != nil {
		return Config{}, err
	}
	var in file
	if err := f.Decode("sync", &in); err != nil {
		return Config{}, err
	}
	c := check{f: f}
	out := Config{Site: id}
	out.Listen = c.listen("sync.listen", in.Listen)
	out.Devices = c.fileName("sync.devices", in.Devices)
	c.ehr(&in, &out)
	c.cache(&in, &out)
	c.queue(&in, &out)
	c.mirror(&in, &out)
	c.share(&in, &out)
	c.endpoints(&in, &out)
	c.lists(&in, &out)
	c.apps(&in, &out)
	c.worklist(&in, &out)
	c.warm(&in, &out)
	c.vault(&in, &out)
	c.destinations(&in, &out)
	c.audit(&in, &out)
	c.contradictions(&out)
	if err := c.err(); err != nil {
		return Config{}, err
	}
	return out, nil
}
