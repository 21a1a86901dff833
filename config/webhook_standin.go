package config

import "hoist/bump"

// Receiver stands in for webhook.Receiver until that room has it.
type Receiver struct {
	Name         bump.Name      `json:"-"`
	Path         string         `json:"path"`
	Type         string         `json:"type"`
	SecretRef    *bump.LocalRef `json:"secretRef,omitempty"`
	SecretDir    string         `json:"secretDir,omitempty"`
	Images       []string       `json:"images,omitempty"`
	Repositories []string       `json:"repositories,omitempty"`
}

// Check finds nothing.
func (Receiver) Check() []bump.Fault { return nil }
