package scanner

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azurecloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	azruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/go-containerregistry/pkg/authn"
)

// acrUser is the user with whom a refresh token of ACR goes as a password.
const acrUser = "00000000-0000-0000-0000-000000000000"

var acrHost = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*\.azurecr\.(io|cn|us)$`)

func ownedByAzure(host string) bool { return acrHost.MatchString(host) }

// lendAzure gets an access token of Entra ID for the default credential
// (environment, workload identity, managed identity, az), and has the registry
// exchange it for a refresh token of its own.
func lendAzure(ctx context.Context, a asking) (loan, error) {
	options := azidentity.DefaultAzureCredentialOptions{ClientOptions: azcore.ClientOptions{Transport: a.services()}}
	audience := "https://containerregistry.azure.net" // good for nothing but registries
	switch acrHost.FindStringSubmatch(a.registry)[1] {
	case "cn":
		options.Cloud, audience = azurecloud.AzureChina, "https://management.chinacloudapi.cn"
	case "us":
		options.Cloud, audience = azurecloud.AzureGovernment, "https://management.usgovcloudapi.net"
	}
	credential, err := azidentity.NewDefaultAzureCredential(&options)
	if err != nil {
		return loan{}, err
	}
	access, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{audience + "/.default"}})
	if err != nil {
		return loan{}, sayAzure(err)
	}
	refresh, err := exchangeACR(ctx, a, access.Token)
	if err != nil {
		return loan{}, err
	}
	return loan{
		config: authn.AuthConfig{Username: acrUser, Password: refresh},
		until:  renewal(jwtExpiry(refresh), a.now()),
	}, nil
}

// exchangeACR posts the access token to the registry itself, and to no host that
// it may point to.
func exchangeACR(ctx context.Context, a asking, access string) (refresh string, err error) {
	form := url.Values{"grant_type": {"access_token"}, "service": {a.registry}, "access_token": {access}}
	if tenant := os.Getenv("AZURE_TENANT_ID"); tenant != "" {
		form.Set("tenant", tenant)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+a.registry+"/oauth2/exchange", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := a.home.Do(req)
	if err != nil {
		return "", fmt.Errorf("%s does not exchange the identity: %w", a.registry, rootError(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s does not exchange the identity, it answers %d %s", a.registry, resp.StatusCode, strings.ToLower(http.StatusText(resp.StatusCode)))
	}
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxSaid)).Decode(&answer); err != nil || answer.RefreshToken == "" {
		return "", fmt.Errorf("%s exchanges the identity for no token", a.registry)
	}
	return answer.RefreshToken, nil
}

// sayAzure finds what is news in the SDK's error, which tells page by page what
// was tried.
func sayAzure(err error) error {
	var failed *azidentity.AuthenticationFailedError
	if !errors.As(err, &failed) {
		return errors.New("there is no identity: neither AZURE_… variables, nor a workload identity, a managed identity or a login of az")
	}
	if failed.RawResponse == nil {
		lines := strings.Split(strings.TrimSpace(failed.Error()), "\n")
		return errors.New(lines[len(lines)-1])
	}
	said := fmt.Sprintf("the identity service answers %d", failed.RawResponse.StatusCode)
	if body, err := azruntime.Payload(failed.RawResponse); err == nil {
		said += oauthSaid(body)
	}
	return errors.New(said)
}

// oauthSaid reads an error of OAuth (RFC 6749, 5.2); "" where it is none.
func oauthSaid(body []byte) string {
	var answer struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Error == "" {
		return ""
	}
	return strings.TrimSuffix(fmt.Sprintf(": %s: %s", answer.Error, answer.Description), ": ")
}

// jwtExpiry reads when a token says that it ends, without trusting it in
// anything else; zero where it does not say.
func jwtExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &claims) != nil || claims.Exp == 0 {
		return time.Time{}
	}
	return time.Unix(claims.Exp, 0)
}
