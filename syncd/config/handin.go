package config

// TakesFHIR says whether new resources may be handed in as FHIR: some destination
// must take them.
func (c Config) TakesFHIR() bool { return accepted(&c, FormatFHIR) }
