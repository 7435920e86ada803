package wire

// Panel is panel.json: the clinic's page.
type Panel struct {
	Header
	Protected bool `json:"protected"` // it has a certificate
}
