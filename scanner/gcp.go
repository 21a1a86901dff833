package scanner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cloud.google.com/go/compute/metadata"
	"github.com/google/go-containerregistry/pkg/authn"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// googleScope is what Artifact Registry and Container Registry ask for.
const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// metadataTimeout bounds the question to the metadata service, which is near or
// not there at all.
const metadataTimeout = 10 * time.Second

func ownedByGoogle(host string) bool {
	return host == "gcr.io" || strings.HasSuffix(host, ".gcr.io") || strings.HasSuffix(host, ".pkg.dev")
}

// lendGoogle gets an access token for the default credentials: the file that
// GOOGLE_APPLICATION_CREDENTIALS names, gcloud's, or the metadata service.
// google.FindDefaultCredentials has the same order, but asks the metadata
// service without a bound and remembers for ever that it was not there once.
func lendGoogle(ctx context.Context, a asking) (loan, error) {
	file, err := googleFile()
	if err != nil {
		return loan{}, err
	}
	var token *oauth2.Token
	if file == nil {
		token, err = fromMetadata(ctx, a)
	} else {
		token, err = fromGoogleFile(ctx, a, file)
	}
	if err != nil {
		return loan{}, err
	}
	return loan{
		config: authn.AuthConfig{Username: "oauth2accesstoken", Password: token.AccessToken},
		until:  renewal(token.Expiry, a.now()),
	}, nil
}

// googleFile returns the file with credentials, nil where there is none.
func googleFile() ([]byte, error) {
	if named := os.Getenv("GOOGLE_APPLICATION_CREDENTIALS"); named != "" {
		file, err := os.ReadFile(named)
		if err != nil {
			return nil, fmt.Errorf("GOOGLE_APPLICATION_CREDENTIALS: %w", err)
		}
		return file, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, nil
	}
	file, err := os.ReadFile(filepath.Join(home, ".config", "gcloud", "application_default_credentials.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return file, err
}

func fromGoogleFile(ctx context.Context, a asking, file []byte) (*oauth2.Token, error) {
	ctx = context.WithValue(ctx, oauth2.HTTPClient, a.services())
	// The file comes from whoever runs us: each kind that there is may be in it.
	var kind struct {
		Type google.CredentialsType `json:"type"`
	}
	err := json.Unmarshal(file, &kind)
	var creds *google.Credentials
	if err == nil {
		creds, err = google.CredentialsFromJSONWithType(ctx, file, kind.Type, googleScope)
	}
	if err != nil {
		return nil, errors.New("the file with Google credentials is none: name one that gcloud or the console made")
	}
	token, err := creds.TokenSource.Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) { // its text would hold the whole answer
		return nil, fmt.Errorf("%s answers %d%s", refused.Response.Request.URL.Host, refused.Response.StatusCode, oauthSaid(refused.Body))
	}
	return token, err
}

// fromMetadata asks the metadata service of the machine or pod.
func fromMetadata(ctx context.Context, a asking) (*oauth2.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	answer, err := metadata.NewClient(a.services()).GetWithContext(ctx, "instance/service-accounts/default/token?scopes="+url.QueryEscape(googleScope))
	var refused *metadata.Error
	switch {
	case errors.As(err, &refused):
		return nil, fmt.Errorf("the metadata service answers %d", refused.Code)
	case err != nil:
		return nil, fmt.Errorf("there is no file with credentials, and no answer from the metadata service: %w", err)
	}
	var token struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if err := json.Unmarshal([]byte(answer), &token); err != nil || token.AccessToken == "" {
		return nil, errNoToken
	}
	return &oauth2.Token{AccessToken: token.AccessToken, Expiry: a.now().Add(time.Duration(token.ExpiresIn) * time.Second)}, nil
}
