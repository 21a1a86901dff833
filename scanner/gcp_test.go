package scanner

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const googleToken = "ya29.google-token-1"

// onGoogle is a sky with a registry of Google's that takes the token.
func onGoogle(t *testing.T, host string) *sky {
	t.Helper()
	registry := &bearer{user: "oauth2accesstoken", pass: googleToken, realm: "https://" + host + "/token"}
	registry.list.set("1.0")
	return newSky(t, host, registry)
}

func TestGoogleMetadata(t *testing.T) {
	for _, host := range []string{"eu.gcr.io", "europe-docker.pkg.dev"} {
		t.Run(host, func(t *testing.T) {
			s := onGoogle(t, host)
			machine := &tally{serve: func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" || r.Header.Get("Metadata-Flavor") != "Google" || r.FormValue("scopes") != googleScope {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				fmt.Fprintf(w, `{"access_token": %q, "expires_in": 3599, "token_type": "Bearer"}`, googleToken)
			}}
			t.Setenv("GCE_METADATA_HOST", serve(t, machine))
			s.scanTwice(t, "gcp")
			if n := machine.asked(); n != 1 {
				t.Errorf("the metadata service was asked %d times by 21 scans, want once", n)
			}
		})
	}
}

// keyFile writes the key of a service account for a token server, and has the
// environment name it.
func keyFile(t *testing.T, tokenURI string) (key *rsa.PrivateKey, secret string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	secret = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	text, err := json.Marshal(map[string]string{
		"type": "service_account", "client_email": "hoist@acme.iam.gserviceaccount.com",
		"private_key_id": "1", "private_key": secret, "token_uri": tokenURI,
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	return key, secret
}

func TestGoogleKeyFile(t *testing.T) {
	s := onGoogle(t, "europe-docker.pkg.dev")
	var key *rsa.PrivateKey
	tokens := &tally{}
	tokens.serve = func(w http.ResponseWriter, r *http.Request) {
		if err := verifyJWT(r.FormValue("assertion"), &key.PublicKey); err != nil || r.FormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" {
			refuseWith(http.StatusUnauthorized, `{"error": "invalid_grant", "error_description": "%v"}`, err)(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": %q, "expires_in": 3599, "token_type": "Bearer"}`, googleToken)
	}
	key, _ = keyFile(t, "http://"+serve(t, tokens)+"/token")
	s.scanTwice(t, "gcp")
	if n := tokens.asked(); n != 1 {
		t.Errorf("the token server was asked %d times by 21 scans, want once", n)
	}
}

// N5, N6: what Google says no to is told without what it was told.
func TestGoogleRefuses(t *testing.T) {
	t.Run("key file", func(t *testing.T) {
		s := onGoogle(t, "gcr.io")
		tokens := &tally{}
		tokens.serve = func(w http.ResponseWriter, r *http.Request) {
			refuseWith(http.StatusBadRequest, `{"error": "invalid_grant", "error_description": "account not found", "seen": %q}`, r.FormValue("assertion"))(w, r)
		}
		_, secret := keyFile(t, "http://"+serve(t, tokens)+"/token")
		s.refuse(t, "gcp", tokens.asked, []string{"eyJ", strings.Split(secret, "\n")[1]},
			"ask Google Cloud for credentials for gcr.io", "answers 400: invalid_grant: account not found", "give the pod a Google identity")
	})
	t.Run("metadata", func(t *testing.T) {
		s := onGoogle(t, "gcr.io")
		machine := &tally{serve: refuseWith(http.StatusForbidden, googleToken)}
		t.Setenv("GCE_METADATA_HOST", serve(t, machine))
		s.refuse(t, "gcp", machine.asked, []string{googleToken},
			"ask Google Cloud for credentials for gcr.io", "the metadata service answers 403", "give the pod a Google identity")
	})
	t.Run("files", func(t *testing.T) {
		s := onGoogle(t, "gcr.io")
		file := filepath.Join(t.TempDir(), "key.json")
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
		scanError(t, s.Scanner, s.image("gcp", "acme/web"), "GOOGLE_APPLICATION_CREDENTIALS", file, "no such file")
		if err := os.WriteFile(file, []byte(`{"private_key": "hunter2`), 0o600); err != nil {
			t.Fatal(err)
		}
		s.clock.pass(2 * firstShrug)
		err := scanError(t, s.Scanner, s.image("gcp", "acme/web"), "the file with Google credentials is none")
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v shows the key", err)
		}
	})
}

// verifyJWT tells whether a token is signed by the key.
func verifyJWT(token string, key *rsa.PublicKey) error {
	at := strings.LastIndexByte(token, '.')
	if at < 0 {
		return errors.New("not a token")
	}
	signature, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(token[:at]))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature)
}
