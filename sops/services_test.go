package sops

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azurecloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"hoist/testenv/sealer"
)

var dataKey = []byte("0123456789abcdef0123456789abcdef")

// held encrypts a file whose data key a service holds as "held".
func held(t *testing.T, g sealer.Group) []byte {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a built program")
	}
	s, err := sealer.New(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Seal(t.Context(), sealer.Request{Format: "yaml", Text: []byte("a: hunter2\n"), DataKey: dataKey, Groups: []sealer.Group{g}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// forServices is for one key of each service.
func forServices() (aws, gcp, azure, vault sealer.Group) {
	aws.AWS = []struct{ ARN, Enc string }{{"arn:aws:kms:eu-west-1:123456789012:key/1234-abcd", "aGVsZA=="}}
	gcp.GCP = []struct{ ResourceID, Enc string }{{"projects/p/locations/global/keyRings/r/cryptoKeys/k", "aGVsZA=="}}
	azure.Azure = []struct{ URL, Name, Version, Enc string }{{"https://keys.vault.azure.net", "k", "v1", "aGVsZA"}}
	vault.Vault = []struct{ Address, Engine, Key, Enc string }{{"https://vault.example.com:8200", "sops", "k", "vault:v1:aGVsZA=="}}
	return aws, gcp, azure, vault
}

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is a service that expects one request.
func answering(t *testing.T, url string, header, body map[string]string, status int, answer any) trip {
	return func(r *http.Request) (*http.Response, error) {
		if got := r.URL.String(); got != url {
			t.Errorf("asked %s, want %s", got, url)
		}
		for k, v := range header {
			if got := r.Header.Get(k); !strings.HasPrefix(got, v) {
				t.Errorf("%s: %q, want %q", k, got, v)
			}
		}
		var sent map[string]any
		if err := json.NewDecoder(r.Body).Decode(&sent); err != nil {
			t.Error(err)
		}
		for k, v := range body {
			if sent[k] != v {
				t.Errorf("body has %s = %v, want %s", k, sent[k], v)
			}
		}
		b, err := json.Marshal(answer)
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(b)))}, err
	}
}

type fixedToken struct{}

func (fixedToken) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if !slices.Equal(o.Scopes, []string{"https://vault.azure.net/.default"}) {
		return azcore.AccessToken{}, errors.New("another scope")
	}
	return azcore.AccessToken{Token: "tok", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// serviceAccount is the key file of one whose tokens come from a server.
func serviceAccount(t *testing.T, tokens string) []byte {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "a@example.com", "token_uri": tokens,
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestServicesOpenDataKeys(t *testing.T) {
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"tok","token_type":"Bearer","expires_in":3600}`)
	}))
	defer tokens.Close()
	aws, gcp, azure, vault := forServices()
	std := base64.StdEncoding.EncodeToString(dataKey)
	for _, c := range []struct {
		name   string
		group  sealer.Group
		secret map[string][]byte
		answer trip
	}{
		{"aws", aws, map[string][]byte{keyAWS: []byte("aws_access_key_id: AKID\naws_secret_access_key: hunter2\n")},
			answering(t, "https://kms.eu-west-1.amazonaws.com/", map[string]string{"X-Amz-Target": "TrentService.Decrypt", "Authorization": "AWS4-HMAC-SHA256 Credential=AKID/"},
				map[string]string{"KeyId": "arn:aws:kms:eu-west-1:123456789012:key/1234-abcd", "CiphertextBlob": "aGVsZA=="}, 200, map[string]string{"Plaintext": std})},
		{"gcp", gcp, map[string][]byte{keyGCP: serviceAccount(t, tokens.URL)},
			answering(t, "https://cloudkms.googleapis.com/v1/projects/p/locations/global/keyRings/r/cryptoKeys/k:decrypt", map[string]string{"Authorization": "Bearer tok"},
				map[string]string{"ciphertext": "aGVsZA=="}, 200, map[string]string{"plaintext": std})},
		{"azure", azure, map[string][]byte{keyAzure: []byte(`{"tenantId":"t","clientId":"c","clientSecret":"s"}`)},
			answering(t, "https://keys.vault.azure.net/keys/k/v1/decrypt?api-version=7.4", map[string]string{"Authorization": "Bearer tok"},
				map[string]string{"alg": "RSA-OAEP-256", "value": "aGVsZA"}, 200, map[string]string{"value": base64.RawURLEncoding.EncodeToString(dataKey)})},
		{"vault", vault, map[string][]byte{keyVault: []byte("hvs.tok\n"), keyVaultAddress: []byte("https://vault.example.com:8200/\n")},
			answering(t, "https://vault.example.com:8200/v1/sops/decrypt/k", map[string]string{"X-Vault-Token": "hvs.tok"},
				map[string]string{"ciphertext": "vault:v1:aGVsZA=="}, 200, map[string]any{"data": map[string]string{"plaintext": std}})},
	} {
		k, err := ParseKeys(c.secret, Allow{})
		if err != nil {
			t.Fatal(err)
		}
		k.services.client.Transport = c.answer
		if k.services.azure != nil {
			k.services.azure.identity = func(azurecloud.Configuration) (azcore.TokenCredential, error) { return fixedToken{}, nil }
		}
		p, err := Open(t.Context(), "s.yaml", held(t, c.group), Options{Keys: k})
		if err != nil || strings.TrimSpace(string(p.Bytes)) != `a: "hunter2"` {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// N5: a file cannot make us ask anybody whom the configuration does not name, nor
// read an identity of our surroundings.
func TestN5FilesAskNoServiceThatIsNotAllowed(t *testing.T) {
	var calls atomic.Int32
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for c, err := ln.Accept(); err == nil; c, err = ln.Accept() {
			calls.Add(1)
			_ = c.Close()
		}
	}()
	// Whatever was asked would come here.
	was := http.DefaultTransport
	defer func() { http.DefaultTransport = was }()
	http.DefaultTransport = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", ln.Addr().String())
	}}
	here := "http://" + ln.Addr().String()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "x", "AWS_ENDPOINT_URL": here, "VAULT_ADDR": here, "VAULT_TOKEN": "x",
		"GCE_METADATA_HOST": ln.Addr().String(), "SOPS_GCP_KMS_ENDPOINT": here, "SOPS_AGE_KEY": "x", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c", "AZURE_CLIENT_SECRET": "s",
	} {
		t.Setenv(name, value)
	}
	aws, gcp, azure, vault := forServices()
	vault.Vault[0].Address = here
	all := sealer.Group{AWS: aws.AWS, GCP: gcp.GCP, Azure: azure.Azure, Vault: vault.Vault}
	sealed := held(t, all)

	private, _, err := sealer.AgeKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []map[string][]byte{{}, {"a.agekey": private}, {keyVault: []byte("hvs.tok"), keyVaultAddress: []byte("https://another.example.com")}} {
		k, err := ParseKeys(secret, Allow{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Open(t.Context(), "s.yaml", sealed, Options{Keys: k})
		var missing *NoKeyError
		if !errors.As(err, &missing) || len(missing.Faults) != 4 {
			t.Errorf("Open = %v, want the four services that are not asked", err)
		}
		for _, f := range missing.Faults {
			if !strings.Contains(f, "is not asked") {
				t.Errorf("%s: want that it is not asked", f)
			}
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d calls, want none", n)
	}

	// Allowed, the same file does ask: the listener is no blind one.
	k, err := ParseKeys(nil, Allow{AWS: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), "s.yaml", sealed, Options{Keys: k}); err == nil || calls.Load() == 0 {
		t.Errorf("with kms: [aws]: %v, %d calls, want one", err, calls.Load())
	}
}

// N5: names of keys lead to no other host and to no other path.
func TestN5NamesOfKeysLeadNowhereElse(t *testing.T) {
	k, err := ParseKeys(map[string][]byte{
		keyAWS:   []byte("aws_access_key_id: a\naws_secret_access_key: b\n"),
		keyAzure: []byte("{tenantId: t, clientId: c, clientSecret: s}"),
		keyVault: []byte("tok"),
	}, Allow{GCP: true, Vaults: []string{"https://vault.example.com"}})
	if err != nil {
		t.Fatal(err)
	}
	k.services.client.Transport = trip(func(r *http.Request) (*http.Response, error) {
		t.Errorf("asked %s", r.URL)
		return nil, errors.New("no")
	})
	for _, g := range []group{
		{AWS: []awsKey{{ARN: "arn:aws:kms:evil.example.com/:123456789012:key/1"}}},
		{AWS: []awsKey{{ARN: "arn:aws:kms:eu-west-1#:123456789012:key/1"}}},
		{AWS: []awsKey{{ARN: "arn:aws:kms:eu-west-1:123456789012:key/1", Role: "arn:aws:iam::1:role/admin"}}},
		{GCP: []gcpKey{{ResourceID: "projects/p/locations/global/keyRings/r/cryptoKeys/../../x"}}},
		{GCP: []gcpKey{{ResourceID: "projects/p/locations/global/keyRings/r/cryptoKeys/k?x"}}},
		{Azure: []azureKey{{VaultURL: "https://evil.example.com", Name: "k"}}},
		{Azure: []azureKey{{VaultURL: "https://evil.example.com#.vault.azure.net", Name: "k"}}},
		{Azure: []azureKey{{VaultURL: "https://evil.example.com/.vault.azure.net", Name: "k"}}},
		{Azure: []azureKey{{VaultURL: "https://u@evil.vault.azure.net", Name: "k"}}},
		{Azure: []azureKey{{VaultURL: "http://k.vault.azure.net", Name: "k"}}},
		{Azure: []azureKey{{VaultURL: "https://k.vault.azure.net", Name: "../secrets/x"}}},
		{Vault: []vaultKey{{Address: "https://vault.example.com.evil.example.com", Engine: "sops", Key: "k"}}},
		{Vault: []vaultKey{{Address: "https://vault.example.com@evil.example.com", Engine: "sops", Key: "k"}}},
		{Vault: []vaultKey{{Address: "https://vault.example.com", Engine: "sops/../sys", Key: "k"}}},
		{Vault: []vaultKey{{Address: "https://vault.example.com", Engine: "sops", Key: "../../sys/seal"}}},
	} {
		if key, faults := k.services.part(t.Context(), g); key != nil || len(faults) != 1 {
			t.Errorf("part(%+v) = %v, %v, want a refusal", g, key, faults)
		}
	}
}

// What a service answers is told by its status and one word.
func TestServicesThatRefuse(t *testing.T) {
	aws, _, _, _ := forServices()
	k, err := ParseKeys(map[string][]byte{keyAWS: []byte("aws_access_key_id: a\naws_secret_access_key: hunter2\n")}, Allow{})
	if err != nil {
		t.Fatal(err)
	}
	sealed := held(t, aws)
	for _, c := range []struct {
		status int
		answer any
		want   string
	}{
		{400, map[string]string{"__type": "com.amazonaws#AccessDeniedException", "message": "hunter2"}, "aws kms: kms.eu-west-1.amazonaws.com answers 400 bad request (AccessDeniedException)"},
		{302, map[string]string{}, "answers 302 found"},
		{200, map[string]string{}, "the answer has no key"},
		{200, map[string]string{"Plaintext": "c2hvcnQ="}, "the data key has a wrong length"},
		{200, "no object", "answers no JSON"},
	} {
		k.services.client.Transport = answering(t, "https://kms.eu-west-1.amazonaws.com/", nil, nil, c.status, c.answer)
		_, err := Open(t.Context(), "s.yaml", sealed, Options{Keys: k})
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%d %v: %v, want %q", c.status, c.answer, err, c.want)
		}
	}
}

func TestCredentialsThatCannotBeReadAreRefused(t *testing.T) {
	for key, value := range map[string]string{
		keyAWS: "hunter2", keyAzure: "{clientSecret: hunter2}", keyGCP: `{"type":"external_account","hunter2":1}`,
	} {
		_, err := ParseKeys(map[string][]byte{key: []byte(value)}, Allow{})
		if err == nil || !strings.Contains(err.Error(), key) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", key, err)
		}
	}
}
