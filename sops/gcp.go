package sops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

// gcpService is Cloud KMS.
type gcpService struct{ identity oauth2.TokenSource }

const gcpScope = "https://www.googleapis.com/auth/cloudkms"

var gcpName = regexp.MustCompile(`^projects/[A-Za-z0-9:._-]+/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]+/cryptoKeys/[A-Za-z0-9_-]+$`)

// newGCP reads the key file of a service account or a user; without one it is the
// identity of the program. Files of other kinds name hosts and programs.
func newGCP(b []byte) (*gcpService, error) {
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Timeout: serviceTimeout})
	if b == nil {
		return &gcpService{lazyToken(func() (oauth2.TokenSource, error) {
			c, err := google.FindDefaultCredentials(ctx, gcpScope)
			if err != nil {
				return nil, err
			}
			return c.TokenSource, nil
		})}, nil
	}
	var kind struct {
		Type google.CredentialsType `json:"type"`
	}
	if json.Unmarshal(b, &kind) != nil || kind.Type != google.ServiceAccount && kind.Type != google.AuthorizedUser {
		return nil, errors.New("is no key file of a service account or a user; for other identities write kms: [gcp]")
	}
	c, err := google.CredentialsFromJSONWithType(ctx, b, kind.Type, gcpScope)
	if err != nil {
		return nil, errors.New("is not a key file that can be read")
	}
	return &gcpService{c.TokenSource}, nil
}

// lazyToken finds the source of tokens when the first is needed.
type lazyToken func() (oauth2.TokenSource, error)

func (l lazyToken) Token() (*oauth2.Token, error) {
	s, err := l()
	if err != nil {
		return nil, err
	}
	return s.Token()
}

func (s *gcpService) open(ctx context.Context, client *http.Client, k gcpKey) ([]byte, error) {
	if !gcpName.MatchString(k.ResourceID) {
		return nil, fmt.Errorf("%q is no name of a key", k.ResourceID)
	}
	token, err := s.identity.Token()
	if err != nil {
		return nil, errors.New("there is no token: the identity is not there, or it was refused")
	}
	req, _, err := request(ctx, "https://cloudkms.googleapis.com/v1/"+k.ResourceID+":decrypt", map[string]string{"ciphertext": k.Enc})
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	var answer struct {
		Plaintext []byte `json:"plaintext"`
	}
	err = post(client, req, &answer, func(b []byte) string {
		var why struct {
			Error struct {
				Status string `json:"status"`
			} `json:"error"`
		}
		_ = json.Unmarshal(b, &why) // no reason is no reason
		return word(why.Error.Status)
	})
	return answer.Plaintext, err
}
