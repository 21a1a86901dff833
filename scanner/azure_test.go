package scanner

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"
)

const (
	entraToken     = "entra-access-token-1"
	identityHeader = "identity-header-1"
)

// acr is a registry that exchanges tokens of Entra ID for its own.
type acr struct {
	*tally
	exchanged int
	refresh   string
	refuse    http.HandlerFunc // answers exchanges where it is set
}

func newACR(host string, ends time.Time) *acr {
	a := &acr{refresh: "e30." + base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, `{"exp": %d}`, ends.Unix())) + ".c2ln"}
	repos := &bearer{user: acrUser, pass: a.refresh, realm: "https://" + host + "/token"}
	repos.list.set("1.0")
	a.tally = &tally{serve: func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/oauth2/exchange" && a.refuse != nil:
			a.exchanged++
			a.refuse(w, r)
		case r.URL.Path == "/oauth2/exchange":
			a.exchanged++
			if r.PostFormValue("grant_type") != "access_token" || r.PostFormValue("service") != host || r.PostFormValue("access_token") != entraToken {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprintf(w, `{"refresh_token": %q}`, a.refresh)
		case r.URL.Path == "/oauth2/token": // what ACR calls its token server
			r.URL.Path = "/token"
			repos.ServeHTTP(w, r)
		default:
			repos.ServeHTTP(w, r)
		}
	}}
	repos.realm = "https://" + host + "/oauth2/token"
	return a
}

// managed gives this process a managed identity. The token ends so soon that
// the SDK, which remembers tokens for the whole process, asks again.
func managed(t *testing.T, resource string) *tally {
	t.Helper()
	giver := &tally{serve: func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-IDENTITY-HEADER") != identityHeader || r.FormValue("resource") != resource {
			refuseWith(http.StatusBadRequest, `{"message": "no identity for %s"}`, r.FormValue("resource"))(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": %q, "expires_on": %q, "resource": %q, "token_type": "Bearer"}`,
			entraToken, strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10), resource)
	}}
	t.Setenv("IDENTITY_ENDPOINT", "http://"+serve(t, giver)+"/msi/token")
	t.Setenv("IDENTITY_HEADER", identityHeader)
	return giver
}

func TestAzureManagedIdentity(t *testing.T) {
	for host, resource := range map[string]string{
		"acme.azurecr.io": "https://containerregistry.azure.net",
		"acme.azurecr.cn": "https://management.chinacloudapi.cn",
		"acme.azurecr.us": "https://management.usgovcloudapi.net",
	} {
		t.Run(host, func(t *testing.T) {
			registry := newACR(host, time.Now().Add(3*time.Hour))
			s := newSky(t, host, registry)
			giver := managed(t, resource)
			s.scanTwice(t, "azure")
			if giver.asked() != 1 || registry.exchanged != 1 {
				t.Errorf("21 scans asked for %d identities and %d exchanges, want 1 and 1", giver.asked(), registry.exchanged)
			}
			s.clock.pass(2*time.Hour + 56*time.Minute)
			mustScan(t, s.Scanner, s.image("azure", "acme/web0"))
			if registry.exchanged != 2 {
				t.Errorf("%d exchanges when the refresh token was about to end, want 2", registry.exchanged)
			}
		})
	}
}

// N5, N6: what Azure or its registry says no to is told without what it was told.
func TestAzureRefuses(t *testing.T) {
	const host = "acme.azurecr.io"
	t.Run("identity", func(t *testing.T) {
		registry := newACR(host, time.Now().Add(time.Hour))
		s := newSky(t, host, registry)
		giver := managed(t, "")
		giver.serve = refuseWith(http.StatusBadRequest, `{"error": "invalid_request", "error_description": "Identity not found", "header": %q}`, identityHeader)
		s.refuse(t, "azure", giver.asked, []string{identityHeader, entraToken},
			"ask Azure for credentials for "+host, "the identity service answers 400: invalid_request: Identity not found", "give the pod an Azure identity")
		if registry.exchanged > 0 {
			t.Error("the registry was asked to exchange nothing")
		}
	})
	t.Run("registry", func(t *testing.T) {
		registry := newACR(host, time.Now().Add(time.Hour))
		s := newSky(t, host, registry)
		managed(t, "https://containerregistry.azure.net")
		registry.refuse = func(w http.ResponseWriter, r *http.Request) {
			refuseWith(http.StatusUnauthorized, `{"errors": [{"code": "UNAUTHORIZED", "message": "no access for %s"}]}`, r.PostFormValue("access_token"))(w, r)
		}
		s.refuse(t, "azure", func() int { return registry.asked() }, []string{entraToken},
			"ask Azure for credentials for "+host, host+" does not exchange the identity, it answers 401", "AcrPull")
	})
	t.Run("redirect", func(t *testing.T) {
		registry := newACR(host, time.Now().Add(time.Hour))
		s := newSky(t, host, registry) // fails where another host is asked
		managed(t, "https://containerregistry.azure.net")
		registry.refuse = func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example.com/oauth2/exchange", http.StatusTemporaryRedirect)
		}
		scanError(t, s.Scanner, s.image("azure", "acme/web"), host+" does not exchange the identity, it answers 307")
	})
}
