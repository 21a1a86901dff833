package sops

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Allow says which services may be asked, beside those whose credentials are in
// the secret.
type Allow struct {
	AWS, GCP, Azure bool     // with the identity of the program
	Vaults          []string // addresses of Vault servers, beside that in the secret
}

// The names of credentials in a secret, which are Flux's, and of our own address.
const (
	keyAWS          = "sops.aws-kms"
	keyGCP          = "sops.gcp-kms"
	keyAzure        = "sops.azure-kv"
	keyVault        = "sops.vault-token"
	keyVaultAddress = "sops.vault-address"
)

// services hold data keys, and open them for whoever they know. What a file says of
// a service is no word of the configuration: it decides neither whether one is
// asked nor where a request goes to, but within the addresses of that cloud.
//
// Each of them is one request, made by hand: the clients of the clouds are bigger
// than the rest of this package by a thousand times.
type services struct {
	aws    *awsService // nil where it may not be asked, as the others
	gcp    *gcpService
	azure  *azureService
	vault  *vaultService
	client *http.Client
}

const (
	serviceTimeout = 15 * time.Second // of one request
	serviceBytes   = 64 << 10         // of one answer
)

func newServices(secret map[string][]byte, allow Allow) (services, error) {
	s := services{client: &http.Client{
		Timeout:       serviceTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	var faults []error
	named := func(name string, err error) {
		if err != nil {
			faults = append(faults, fmt.Errorf("key %s: %w", name, err))
		}
	}
	var err error
	if b, ok := secret[keyAWS]; ok || allow.AWS {
		s.aws, err = newAWS(b)
		named(keyAWS, err)
	}
	if b, ok := secret[keyGCP]; ok || allow.GCP {
		s.gcp, err = newGCP(b)
		named(keyGCP, err)
	}
	if b, ok := secret[keyAzure]; ok || allow.Azure {
		s.azure, err = newAzure(b)
		named(keyAzure, err)
	}
	if b, ok := secret[keyVault]; ok {
		addresses := slices.Clone(allow.Vaults)
		if a := strings.TrimSpace(string(secret[keyVaultAddress])); a != "" {
			addresses = append(addresses, a)
		}
		s.vault = &vaultService{strings.TrimSpace(string(b)), addresses}
	}
	return s, errors.Join(faults...)
}

// part asks the services of a group for its data key until one knows it. The
// faults say why the others do not.
func (s services) part(ctx context.Context, g group) (key []byte, faults []string) {
	const unasked = "%s is not asked: neither decryption.kms nor %s in the secret allows it"
	try := func(name string, ask func() ([]byte, error)) bool {
		var err error
		if key, err = ask(); err == nil && len(key) == 0 {
			err = errors.New("the answer has no key")
		}
		if err != nil {
			faults = append(faults, name+": "+err.Error())
		}
		return err == nil
	}
	for _, k := range g.AWS {
		if s.aws == nil {
			faults = append(faults, fmt.Sprintf(unasked, "aws kms", keyAWS))
		} else if try("aws kms", func() ([]byte, error) { return s.aws.open(ctx, s.client, k) }) {
			return key, nil
		}
	}
	for _, k := range g.GCP {
		if s.gcp == nil {
			faults = append(faults, fmt.Sprintf(unasked, "gcp kms", keyGCP))
		} else if try("gcp kms", func() ([]byte, error) { return s.gcp.open(ctx, s.client, k) }) {
			return key, nil
		}
	}
	for _, k := range g.Azure {
		if s.azure == nil {
			faults = append(faults, fmt.Sprintf(unasked, "azure key vault", keyAzure))
		} else if try("azure key vault", func() ([]byte, error) { return s.azure.open(ctx, s.client, k) }) {
			return key, nil
		}
	}
	for _, k := range g.Vault {
		if s.vault == nil {
			faults = append(faults, "vault is not asked: there is no "+keyVault+" in the secret")
		} else if try("vault", func() ([]byte, error) { return s.vault.open(ctx, s.client, k) }) {
			return key, nil
		}
	}
	return nil, faults
}

// post sends JSON and reads JSON. Of an answer other than 200 only a word that
// names the reason is repeated, and only where said finds one.
func post(client *http.Client, req *http.Request, answer any, said func([]byte) string) error {
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", req.URL.Host, rootOf(err))
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, serviceBytes))
	if err != nil {
		return fmt.Errorf("ask %s: %w", req.URL.Host, rootOf(err))
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d %s%s", req.URL.Host, resp.StatusCode, strings.ToLower(http.StatusText(resp.StatusCode)), said(b))
	}
	if json.Unmarshal(b, answer) != nil {
		return fmt.Errorf("%s answers no JSON", req.URL.Host)
	}
	return nil
}

func request(ctx context.Context, url string, body any) (*http.Request, []byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, b, err
}

func none([]byte) string { return "" }

// rootOf is an error without the URL that net/http puts around it.
func rootOf(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

// word is a reason behind a status, if it is one word.
func word(s string) string {
	if s == "" || len(s) > 64 || strings.ContainsAny(s, " \t\r\n") {
		return ""
	}
	return " (" + s + ")"
}
