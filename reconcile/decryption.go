package reconcile

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"hoist/bump"
	"hoist/sops"
)

// Decryption says what opens the files that SOPS encrypted.
type Decryption struct {
	// Provider is sops, also when empty.
	Provider string `json:"provider,omitempty"`
	// SecretRef names a Secret in the namespace of the app's name, with the keys:
	// NAME.agekey, NAME.asc, sops.aws-kms, sops.azure-kv, sops.gcp-kms, sops.vault-token.
	SecretRef *bump.LocalRef `json:"secretRef,omitempty"`
	// SecretDir is a directory with the same keys as files.
	SecretDir string `json:"secretDir,omitempty"`
	// KMS are the services that may be asked in the name of the program: aws, gcp,
	// azure. Credentials in the secret allow their service as well.
	KMS []string `json:"kms,omitempty"`
	// VaultAddresses are the Vault servers that may be asked with the token in the
	// secret, beside the one that the secret names as sops.vault-address.
	VaultAddresses []string `json:"vaultAddresses,omitempty"`
}

// What becomes of Secrets that stand in Git for everybody to read.
const (
	PlaintextWarn   = "warn"
	PlaintextRefuse = "refuse"
	PlaintextAllow  = "allow"
)

func (d *Decryption) allow() sops.Allow {
	return sops.Allow{
		AWS: slices.Contains(d.KMS, "aws"), GCP: slices.Contains(d.KMS, "gcp"), Azure: slices.Contains(d.KMS, "azure"),
		Vaults: d.VaultAddresses,
	}
}

// keysAt says where a person puts a key.
func (a App) keysAt() string {
	switch d := a.Decryption; {
	case d.SecretRef != nil:
		return fmt.Sprintf("secret %s/%s", a.Name.Namespace, d.SecretRef.Name)
	case d.SecretDir != "":
		return d.SecretDir
	}
	return "a secret that decryption.secretRef names"
}

func (a App) checkDecryption(fault func(field, format string, args ...any)) {
	switch a.PlaintextSecrets {
	case "", PlaintextWarn, PlaintextRefuse, PlaintextAllow:
	default:
		fault("plaintextSecrets", "%q is not one of %s, %s, %s", a.PlaintextSecrets, PlaintextWarn, PlaintextRefuse, PlaintextAllow)
	}
	d := a.Decryption
	if d == nil {
		return
	}
	if d.Provider != "" && d.Provider != "sops" {
		fault("decryption.provider", "%q is not sops", d.Provider)
	}
	switch {
	case d.SecretRef != nil && d.SecretDir != "":
		fault("decryption.secretDir", "stands beside secretRef: keep one of them")
	case d.SecretRef != nil && d.SecretRef.Name == "":
		fault("decryption.secretRef.name", "is missing")
	case d.SecretRef == nil && d.SecretDir == "" && len(d.KMS) == 0:
		fault("decryption", "names no keys: add secretRef, or in the native form secretDir or kms")
	}
	for i, k := range d.KMS {
		if !slices.Contains([]string{"aws", "gcp", "azure"}, k) {
			fault(fmt.Sprintf("decryption.kms[%d]", i), "%q is not one of aws, gcp, azure", k)
		}
	}
	for i, v := range d.VaultAddresses {
		if u, err := url.Parse(v); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" {
			fault(fmt.Sprintf("decryption.vaultAddresses[%d]", i), "%q is no address such as https://vault.example.com:8200", v)
		}
	}
}
