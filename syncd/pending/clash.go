package pending

import (
	"crypto/sha256"
	"encoding/json"
	"time"

	"clinicgate/syncd/fhir"
)

// TaskSystem is the system of the codes on our Tasks.
const TaskSystem = "urn:clinicgate:task"

// A Clash is an edit that the EHR did not take, with what it has instead.
type Clash struct {
	Edit    Edit
	When    time.Time
	Patient fhir.Ref // zero: the EHR did not take the patient either
	Focus   fhir.Ref // what was to be changed; without id when it was to be made
	Theirs  [][]byte // of each change, the EHR's version; nil: it has none
}

// Task is the edit that makes a Task for the author, with both versions byte by byte:
// nothing of either is lost, and which holds is for the doctor to say.
func (c Clash) Task() Edit {
	sum := sha256.Sum256([]byte("clinicgate clash 1|" + c.Edit.ID))
	id := sha256.Sum256([]byte("clinicgate clash task 1|" + c.Edit.ID))
	type coding struct {
		System string `json:"system"`
		Code   string `json:"code"`
	}
	type concept struct {
		Coding []coding `json:"coding"`
		Text   string   `json:"text"`
	}
	type attachment struct {
		ContentType string `json:"contentType"`
		Data        []byte `json:"data"`
		Title       string `json:"title"`
	}
	type input struct {
		Type  concept    `json:"type"`
		Value attachment `json:"valueAttachment"`
	}
	type reference struct {
		Reference string `json:"reference"`
	}
	type person struct {
		Identifier struct {
			System string `json:"system"`
			Value  string `json:"value"`
		} `json:"identifier"`
	}
	task := struct {
		ResourceType string     `json:"resourceType"`
		Status       string     `json:"status"`
		Intent       string     `json:"intent"`
		Priority     string     `json:"priority"`
		Code         concept    `json:"code"`
		Description  string     `json:"description"`
		Focus        *reference `json:"focus,omitempty"`
		For          *reference `json:"for,omitempty"`
		AuthoredOn   string     `json:"authoredOn"`
		Owner        person     `json:"owner"`
		Input        []input    `json:"input"`
	}{
		ResourceType: "Task", Status: "requested", Intent: "order", Priority: "urgent",
		Code:        concept{[]coding{{TaskSystem, "clash"}}, "A change made at the clinic was not taken by the EHR"},
		Description: "Compare both versions and write what holds; then complete this task. Reason: " + c.Edit.Why,
		AuthoredOn:  c.When.UTC().Format(time.RFC3339),
	}
	task.Owner.Identifier.System, task.Owner.Identifier.Value = "urn:clinicgate:person", c.Edit.Who
	if c.Focus.ID != "" {
		task.Focus = &reference{c.Focus.String()}
	}
	if c.Patient != (fhir.Ref{}) {
		task.For = &reference{c.Patient.String()}
	}
	version := func(code, title string, body []byte) input {
		return input{concept{[]coding{{TaskSystem, code}}, title}, attachment{"application/fhir+json", body, title}}
	}
	for i, ch := range c.Edit.Changes {
		title := "as written at the clinic"
		if ch.Hide {
			title = "to be hidden, as asked at the clinic"
		}
		task.Input = append(task.Input, version("ours", title, ch.Body))
		if i < len(c.Theirs) && c.Theirs[i] != nil {
			task.Input = append(task.Input, version("theirs", "as the EHR has it", c.Theirs[i]))
		}
	}
	body, _ := json.Marshal(task) // of strings
	return Edit{
		ID: UUID(sum[:]), When: c.When, Patient: c.Edit.Patient, Author: c.Edit.Author, State: Waiting, Of: c.Edit.ID,
		Changes: []Change{{Ref: fhir.Ref{Type: "Task", ID: UUID(id[:])}, New: true, Body: body}},
	}
}

// Closes says whether a Task, as written, is one that nobody has to do any more.
func Closes(body []byte) bool {
	var t struct{ ResourceType, Status string }
	if json.Unmarshal(body, &t) != nil || t.ResourceType != "Task" {
		return false
	}
	switch t.Status {
	case "completed", "cancelled", "rejected", "failed", "entered-in-error":
		return true
	}
	return false
}
