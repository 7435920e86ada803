package clinic

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"clinicgate/firmware/lab/proc"
	"clinicgate/image/lab/ehr"
)

// HospitalUser and HospitalPassword open the hospital's DICOMweb.
const (
	HospitalUser     = "clinicgate"
	HospitalPassword = "portillo-lab"
)

// startISPA gives out addresses as an ISP does.
func (c *Clinic) startISPA(ctx context.Context) error {
	p, err := c.start(proc.Spec{Name: "dnsmasq", Space: c.ISPA, Args: []string{
		"dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file",
		// A program that changes its user or group is no longer killed with the lab.
		"--user=root", "--group=root", "--log-facility=-", "--log-dhcp",
		"--port=0", "--interface=wan", "--bind-interfaces", "--dhcp-authoritative",
		"--dhcp-range=100.64.1.100,100.64.1.199,255.255.255.0,10m", "--dhcp-option=option:router,100.64.1.1",
		"--dhcp-leasefile=" + filepath.Join(c.Dir, "isp-a.leases"),
	}})
	if err != nil {
		return err
	}
	return p.WaitLine(ctx, "DHCP, IP range")
}

// startEHR starts the cloud's FHIR server with two patients and their records, and
// one that has an ECG.
func (c *Clinic) startEHR(ctx context.Context) (err error) {
	var bundles []string
	for _, name := range []string{"practitioners", "hospitals", "alva-dickinson", "cecelia-romaguera"} {
		bundles = append(bundles, filepath.Join(c.Root, "image/lab/testdata/synthea", name+".json.gz"))
	}
	bundles = append(bundles, filepath.Join(c.Root, "image/lab/testdata/ecg/patient.json")) // whose SCP-ECG it is
	c.EHR, err = ehr.Start(ctx, ehr.Config{
		Space: c.Cloud, Dir: filepath.Join(c.Root, "build/lab/ehr"), Listen: "10.98.1.10:8103", Bundles: bundles, Log: c.log("ehr"),
	})
	if err == nil {
		c.procs = append(c.procs, c.EHR.Proc)
	}
	return err
}

// startHospital starts Orthanc with DICOMweb behind a password.
func (c *Clinic) startHospital(ctx context.Context) error {
	store := filepath.Join(c.Dir, "orthanc")
	if err := os.RemoveAll(store); err != nil { // a hospital that never saw this clinic
		return err
	}
	config, err := json.MarshalIndent(map[string]any{
		"Name": "Hospital", "StorageDirectory": store, "IndexDirectory": store,
		"Plugins":  []string{"/usr/share/orthanc/plugins/libOrthancDicomWeb.so"},
		"HttpPort": 8042, "RemoteAccessAllowed": true, "AuthenticationEnabled": true,
		"RegisteredUsers": map[string]string{HospitalUser: HospitalPassword},
		"DicomAet":        "HOSPITAL", "DicomPort": 4242,
		"LuaScripts": []string{filepath.Join(c.Dir, "hospital.lua")},
	}, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(c.Dir, "hospital.lua"), []byte(noteReceived), 0o600)
	}
	if err != nil {
		return err
	}
	file := filepath.Join(c.Dir, "orthanc.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	p, err := c.start(proc.Spec{Name: "orthanc", Space: c.Hospital, Args: []string{"Orthanc", file}})
	if err != nil {
		return err
	}
	return p.WaitPort(ctx, "10.98.2.10:8042")
}

// noteReceived has Orthanc note each instance that comes to it, also one that it has
// already and puts with the first.
const noteReceived = `function ReceivedInstanceFilter(dicom, origin, info)
  print('RECEIVED ' .. dicom.SOPInstanceUID)
  return true
end
`

// HospitalReceived is how often each instance came to the hospital, by its UID.
func (c *Clinic) HospitalReceived() (map[string]int, error) {
	log, err := os.ReadFile(c.log("orthanc"))
	if err != nil {
		return nil, fmt.Errorf("what the hospital received: %w", err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(log)) {
		if _, uid, ok := strings.Cut(line, "RECEIVED "); ok {
			times[strings.TrimSpace(uid)]++
		}
	}
	return times, nil
}

// HospitalClient is an HTTP client inside the hospital, for the ground truth.
func (c *Clinic) HospitalClient() *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: c.Hospital.DialContext}}
}
