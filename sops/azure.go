package sops

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azurecloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"go.yaml.in/yaml/v3"
)

// azureService is Azure Key Vault.
type azureService struct {
	identity func(azurecloud.Configuration) (azcore.TokenCredential, error)
}

// azureCloud is how hosts of key vaults end, the audience of a token that is good
// there, and the cloud that gives it out.
type azureCloud struct {
	suffix, audience string
	cloud            azurecloud.Configuration
}

// azureClouds are all that there are: a token goes to no other host.
var azureClouds = []azureCloud{
	{".vault.azure.net", "https://vault.azure.net", azurecloud.AzurePublic},
	{".vault.azure.cn", "https://vault.azure.cn", azurecloud.AzureChina},
	{".vault.usgovcloudapi.net", "https://vault.usgovcloudapi.net", azurecloud.AzureGovernment},
	{".managedhsm.azure.net", "https://managedhsm.azure.net", azurecloud.AzurePublic},
}

var (
	azureHost = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+$`)
	azureName = regexp.MustCompile(`^[A-Za-z0-9-]+$`)
)

// newAzure reads a service principal or names a managed identity; without any it
// is the identity of the program.
func newAzure(b []byte) (*azureService, error) {
	options := func(c azurecloud.Configuration) azcore.ClientOptions {
		return azcore.ClientOptions{Cloud: c, Transport: &http.Client{Timeout: serviceTimeout}}
	}
	if b == nil {
		return &azureService{func(c azurecloud.Configuration) (azcore.TokenCredential, error) {
			return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options(c)})
		}}, nil
	}
	var a struct {
		Tenant      string `yaml:"tenantId"`
		Client      string `yaml:"clientId"`
		Secret      string `yaml:"clientSecret"`
		Certificate string `yaml:"clientCertificate"`
		Password    string `yaml:"clientCertificatePassword"`
	}
	if yaml.Unmarshal(b, &a) != nil || a.Client == "" || (a.Secret != "" || a.Certificate != "") && a.Tenant == "" {
		return nil, errors.New("has no clientId, or no tenantId beside clientSecret or clientCertificate, as YAML or JSON")
	}
	return &azureService{func(c azurecloud.Configuration) (azcore.TokenCredential, error) {
		switch {
		case a.Secret != "":
			return azidentity.NewClientSecretCredential(a.Tenant, a.Client, a.Secret, &azidentity.ClientSecretCredentialOptions{ClientOptions: options(c)})
		case a.Certificate != "":
			certs, key, err := azidentity.ParseCertificates([]byte(a.Certificate), []byte(a.Password))
			if err != nil {
				return nil, err
			}
			return azidentity.NewClientCertificateCredential(a.Tenant, a.Client, certs, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: options(c)})
		}
		return azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: options(c), ID: azidentity.ClientID(a.Client)})
	}}, nil
}

func (s *azureService) open(ctx context.Context, client *http.Client, k azureKey) ([]byte, error) {
	u, err := url.Parse(k.VaultURL)
	if err != nil || u.Scheme != "https" || !azureHost.MatchString(u.Host) || strings.Trim(u.Path, "/") != "" || u.User != nil {
		return nil, fmt.Errorf("%q is no key vault", k.VaultURL)
	}
	at := slices.IndexFunc(azureClouds, func(c azureCloud) bool { return strings.HasSuffix(u.Host, c.suffix) })
	if at < 0 || !azureName.MatchString(k.Name) || k.Version != "" && !azureName.MatchString(k.Version) {
		return nil, fmt.Errorf("%q is no key of a key vault", k.VaultURL+"/keys/"+k.Name+"/"+k.Version)
	}
	refused := errors.New("there is no token: the identity is not there, or it was refused")
	identity, err := s.identity(azureClouds[at].cloud)
	if err != nil {
		return nil, refused
	}
	token, err := identity.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{azureClouds[at].audience + "/.default"}})
	if err != nil {
		return nil, refused
	}
	key := k.Name
	if k.Version != "" {
		key += "/" + k.Version
	}
	req, _, err := request(ctx, "https://"+u.Host+"/keys/"+key+"/decrypt?api-version=7.4", map[string]string{"alg": "RSA-OAEP-256", "value": k.Enc})
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	var answer struct {
		Value string `json:"value"`
	}
	if err := post(client, req, &answer, func(b []byte) string {
		var why struct {
			Error struct {
				Code string `json:"code"`
			} `json:"error"`
		}
		_ = json.Unmarshal(b, &why) // no reason is no reason
		return word(why.Error.Code)
	}); err != nil {
		return nil, err
	}
	opened, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(answer.Value, "="))
	if err != nil {
		return nil, errors.New("the answer has no key")
	}
	return opened, nil
}
