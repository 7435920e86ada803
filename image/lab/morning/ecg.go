package morning

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/suyashkumar/dicom"
	"github.com/suyashkumar/dicom/pkg/tag"

	"clinicgate/firmware/lab/proc"
	"clinicgate/image/lab/clinic"
)

// shipment is what the morning sends.
type shipment struct {
	dicom, scp []byte // the files as the cart and the monitor have them
	uid        string // SOP Instance UID of the DICOM one
}

func (m *Morning) testdata(name string) string {
	return filepath.Join(m.Clinic.Root, "image/lab/testdata/ecg", name)
}

func (m *Morning) storeECG(ctx context.Context) error {
	file := m.testdata("12lead.dcm")
	var err error
	if m.dicom, err = os.ReadFile(file); err != nil {
		return err
	}
	sent, err := parse(m.dicom)
	if err != nil {
		return err
	}
	if m.uid, err = text(sent, tag.SOPInstanceUID); err != nil {
		return err
	}
	out, err := proc.Run(ctx, m.Clinic.Cart, "storescu", "-v", "-R", "-aet", "ECGCART", "-aec", "CLINICGATE", clinic.Gateway, "11112", file)
	if err != nil {
		return err
	}
	if !bytes.Contains(out, []byte("Received Store Response (Success)")) {
		return fmt.Errorf("storescu got no success: %s", out)
	}
	return nil
}

// topic is where monitors publish ECGs.
const topic = "clinic/monitor1/ecg"

func (m *Morning) publishECG(ctx context.Context) error {
	file := m.testdata("ecgtoolkit.scp")
	var err error
	if m.scp, err = os.ReadFile(file); err != nil {
		return err
	}
	out, err := proc.Run(ctx, m.Clinic.Monitor, "mosquitto_pub", "-d", "-V", "mqttv5", "-q", "1", "-i", "monitor1", "-t", topic, "-f", file,
		"-h", clinic.Gateway, "-p", "8883", "--cafile", m.Clinic.Device("ca.pem"),
		"--cert", m.Clinic.Device("monitor1.crt"), "--key", m.Clinic.Device("monitor1.key"))
	if err != nil {
		return err
	}
	if !bytes.Contains(out, []byte("received PUBACK (Mid: 1, RC:0)")) {
		return fmt.Errorf("mosquitto_pub got no PUBACK: %s", out)
	}
	return nil
}

func (m *Morning) powerCut(ctx context.Context) error {
	if err := m.Box.CutPower(); err != nil {
		return err
	}
	m.ws.Forget()
	return m.Box.Boot(ctx)
}

// delivery is how long after the link's return an upload may take: detection,
// the tunnel's handshake and the queue's back-off.
const delivery = 2 * time.Minute

func (m *Morning) findECG(ctx context.Context) error {
	m.Clinic.Cables[clinic.CableB].Restore()
	ids, err := m.awaitECG(ctx)
	if err != nil {
		return err
	}
	if len(ids) != 1 {
		return fmt.Errorf("the hospital has the ECG %d times", len(ids))
	}
	stored, err := m.hospital(ctx, http.MethodGet, "/instances/"+ids[0]+"/file", "")
	if err != nil {
		return err
	}
	return sameECG(m.dicom, stored)
}

// awaitECG waits until the hospital has the ECG and returns its instances there.
func (m *Morning) awaitECG(ctx context.Context) (ids []string, err error) {
	for end := time.Now().Add(delivery); ; time.Sleep(500 * time.Millisecond) {
		found, err := m.hospital(ctx, http.MethodPost, "/tools/find",
			fmt.Sprintf(`{"Level":"Instance","Query":{"SOPInstanceUID":%q}}`, m.uid))
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(found, &ids); err != nil {
			return nil, fmt.Errorf("ask the hospital: %w", err)
		}
		if len(ids) > 0 {
			return ids, nil
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("the ECG is not in the hospital %v after the link's return", delivery)
		}
	}
}

// hospital asks Orthanc itself, from inside the hospital.
func (m *Morning) hospital(ctx context.Context, method, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, clinic.Hospital+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(clinic.HospitalUser, clinic.HospitalPassword)
	resp, err := m.Clinic.HospitalClient().Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the hospital: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("ask the hospital: %s", resp.Status)
	}
	return data, err
}

func parse(file []byte) (dicom.Dataset, error) {
	return dicom.Parse(bytes.NewReader(file), int64(len(file)), nil)
}

func text(set dicom.Dataset, t tag.Tag) (string, error) {
	e, err := set.FindElementByTag(t)
	if err != nil {
		return "", err
	}
	values, ok := e.Value.GetValue().([]string)
	if !ok || len(values) != 1 {
		return "", fmt.Errorf("element %v: got %v, want one text", t, e.Value)
	}
	return values[0], nil
}

// fileMeta is the group that belongs to the file, not to the ECG: every program
// that writes a file writes its own.
const fileMeta = 0x0002

// sameECG compares all that was recorded: every value outside the file's own
// header, waveforms and identifiers among them. How sequences say their length is
// up to each program.
func sameECG(sent, stored []byte) error {
	a, err := parse(sent)
	if err != nil {
		return fmt.Errorf("the cart's file: %w", err)
	}
	b, err := parse(stored)
	if err != nil {
		return fmt.Errorf("the hospital's file: %w", err)
	}
	have, want := values(&b), values(&a)
	waveforms := 0
	for i, w := range want {
		if i >= len(have) || !w.Equals(have[i]) {
			return fmt.Errorf("element %v is not what was sent", w.Tag)
		}
		if w.Tag == tag.WaveformData {
			waveforms++
		}
	}
	if len(have) != len(want) {
		return fmt.Errorf("the hospital has %d values, the cart sent %d", len(have), len(want))
	}
	if waveforms == 0 {
		return errors.New("the cart's file has no waveform")
	}
	return nil
}

// values are the elements that hold something themselves, in order.
func values(set *dicom.Dataset) []*dicom.Element {
	var out []*dicom.Element
	for it := set.FlatStatefulIterator(); it.HasNext(); {
		e := it.Next()
		if e.Tag.Group != fileMeta && e.Value.ValueType() != dicom.Sequences && e.Value.ValueType() != dicom.SequenceItem {
			out = append(out, e)
		}
	}
	return out
}

func (m *Morning) findPublished(ctx context.Context) error {
	for end := time.Now().Add(delivery); ; time.Sleep(500 * time.Millisecond) {
		n, err := m.published()
		switch {
		case err != nil:
			return err
		case n == 1:
			return nil
		case n > 1:
			return fmt.Errorf("the EHR has the recording %d times", n)
		case time.Now().After(end):
			return errors.New("the recording is not in the EHR")
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
}

// published counts the EHR's documents whose content is the monitor's file, byte
// by byte.
func (m *Morning) published() (int, error) {
	all, err := m.Clinic.EHR.Dump()
	if err != nil {
		return 0, err
	}
	want := base64.StdEncoding.EncodeToString(m.scp)
	holds := map[string]bool{} // Binary resources with the file
	for _, r := range all {
		var b struct{ Data string }
		if r.Type == "Binary" && json.Unmarshal(r.Raw, &b) == nil && b.Data == want {
			holds["Binary/"+r.ID] = true
		}
	}
	documents := 0
	for _, r := range all {
		var d struct {
			Content []struct {
				Attachment struct{ URL, Data string }
			}
		}
		if r.Type != "DocumentReference" || json.Unmarshal(r.Raw, &d) != nil {
			continue
		}
		for _, c := range d.Content {
			if c.Attachment.Data == want || holds[c.Attachment.URL] {
				documents++
			}
		}
	}
	return max(documents, len(holds)), nil
}
