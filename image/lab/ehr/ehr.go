// Package ehr runs the lab's cloud EHR: Medplum's published FHIR R4 router on
// Node.js, in a namespace. It guarantees that what Dump returns is what the EHR
// holds, whatever faults it plays to its users.
package ehr

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	"clinicgate/firmware/lab"
	"clinicgate/firmware/lab/netns"
	"clinicgate/firmware/lab/proc"
)

//go:embed *.mjs package.json
var program embed.FS

// controlPort is where, on the loopback of its namespace alone, the EHR takes
// faults and shows its ground truth.
const controlPort = 8104

// Installed is the need for Node.js and the EHR's modules in dir.
func Installed(dir string) lab.Need {
	return func() error {
		if err := lab.Program("node")(); err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(dir, "node_modules", "@medplum", "fhir-router")); err != nil {
			return fmt.Errorf("the EHR's npm modules: %w; `make deps` installs them", err)
		}
		return nil
	}
}

// Config says where the EHR runs.
type Config struct {
	Space   *netns.Space
	Dir     string   // with node_modules in it; the program is written there
	Listen  string   // address and port in Space
	Bundles []string // FHIR Bundles loaded in this order, .json or .json.gz
	Log     string
}

// Server is a running EHR.
type Server struct {
	Proc *proc.Proc
	http http.Client
}

// Start starts the EHR and returns when its Bundles are loaded and it listens.
func Start(ctx context.Context, c Config) (*Server, error) {
	if err := unpack(c.Dir); err != nil {
		return nil, fmt.Errorf("start the EHR: %w", err)
	}
	args := []string{"node", "server.mjs", c.Listen, strconv.Itoa(controlPort)}
	for _, b := range c.Bundles {
		abs, err := filepath.Abs(b)
		if err != nil {
			return nil, err
		}
		args = append(args, abs)
	}
	p, err := proc.Start(proc.Spec{Name: "ehr", Args: args, Dir: c.Dir, Space: c.Space, Log: c.Log})
	if err != nil {
		return nil, err
	}
	if err := p.WaitLine(ctx, "ready at"); err != nil {
		p.Kill()
		return nil, err
	}
	return &Server{Proc: p, http: http.Client{Transport: &http.Transport{DialContext: c.Space.DialContext}}}, nil
}

// unpack writes the program beside its modules, which is where Node.js looks.
func unpack(dir string) error {
	files, err := program.ReadDir(".")
	if err != nil {
		return err
	}
	for _, f := range files {
		data, err := program.ReadFile(f.Name())
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Faults is what the EHR plays to its users; the zero value is a good day.
type Faults struct {
	Down            bool `json:"down,omitempty"`            // connections close without an answer
	DelayMS         int  `json:"delayMs,omitempty"`         // before every answer
	FailNext        int  `json:"failNext,omitempty"`        // so many requests get FailStatus
	FailStatus      int  `json:"failStatus,omitempty"`      // 0: 503
	DropAfterCommit int  `json:"dropAfterCommit,omitempty"` // so many requests are done, then not answered
	Nonsense        bool `json:"nonsense,omitempty"`        // 200 with something that is no FHIR
}

// Play sets the faults, instead of those before.
func (s *Server) Play(f Faults) error {
	body, err := json.Marshal(f)
	if err != nil {
		return err
	}
	_, err = s.control(http.MethodPost, "/_ctl", body)
	return err
}

// Resource is one resource with what every resource has.
type Resource struct {
	Type string `json:"resourceType"`
	ID   string `json:"id"`
	Raw  json.RawMessage
}

// Dump returns every current resource.
func (s *Server) Dump() ([]Resource, error) {
	data, err := s.control(http.MethodGet, "/_dump", nil)
	if err != nil {
		return nil, err
	}
	var raws []json.RawMessage
	if err := json.Unmarshal(data, &raws); err != nil {
		return nil, fmt.Errorf("dump of the EHR: %w", err)
	}
	all := make([]Resource, len(raws))
	for i, raw := range raws {
		if err := json.Unmarshal(raw, &all[i]); err != nil {
			return nil, fmt.Errorf("dump of the EHR: %w", err)
		}
		all[i].Raw = raw
	}
	return all, nil
}

func (s *Server) control(method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequest(method, fmt.Sprintf("http://127.0.0.1:%d%s", controlPort, path), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("control of the EHR: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("control of the EHR: %s: %s", resp.Status, bytes.TrimSpace(data))
	}
	return data, err
}
