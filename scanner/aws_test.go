package scanner

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	ecrTestHost = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
	awsKeyID    = "AKIDEXAMPLE"
	awsSecret   = "wJalrXUtnFEMIK7MDENG"
)

// ecrAPI speaks GetAuthorizationToken of ECR's API, to whoever signs with the
// key and for the region and service that are due. The password is set by tests.
func ecrAPI(clock *clock, scope string, password func() string) *tally {
	return &tally{serve: func(w http.ResponseWriter, r *http.Request) {
		signed, target := r.Header.Get("Authorization"), r.Header.Get("X-Amz-Target")
		if !strings.Contains(signed, "Credential="+awsKeyID+"/") || !strings.Contains(signed, scope) || !strings.HasSuffix(target, ".GetAuthorizationToken") {
			refuseWith(http.StatusBadRequest, `{"__type": "InvalidSignatureException", "message": "signed for %q, target %s"}`, strings.ReplaceAll(signed, `"`, ""), target)(w, r)
			return
		}
		token := base64.StdEncoding.EncodeToString([]byte("AWS:" + password()))
		data := fmt.Sprintf(`{"authorizationToken": %q, "expiresAt": %d}`, token, clock.now().Add(12*time.Hour).Unix())
		if strings.Contains(target, "AmazonEC2ContainerRegistry") {
			data = "[" + data + "]"
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		fmt.Fprintf(w, `{"authorizationData": %s}`, data)
	}}
}

// onECR is a sky with a private registry of ECR and its API.
func onECR(t *testing.T) (*sky, *tally, *passwords) {
	t.Helper()
	registry := &passwords{user: "AWS", pass: "ecr-password-1"}
	registry.list.set("1.0")
	s := newSky(t, ecrTestHost, registry)
	api := ecrAPI(s.clock, "/eu-west-1/ecr/aws4_request", registry.get)
	t.Setenv("AWS_ENDPOINT_URL_ECR", "http://"+serve(t, api))
	return s, api, registry
}

func awsKeys(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", awsKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", awsSecret)
	t.Setenv("AWS_SESSION_TOKEN", "session-token-1")
}

// Whatever the way in which AWS tells us who we are, the registry's token is
// asked for once.
func TestAWSIdentities(t *testing.T) {
	for name, become := range map[string]func(*testing.T) (giver *tally){
		"environment": func(t *testing.T) *tally {
			awsKeys(t)
			return nil
		},
		"shared file": func(t *testing.T) *tally {
			file := filepath.Join(t.TempDir(), "credentials")
			text := fmt.Sprintf("[ci]\naws_access_key_id = %s\naws_secret_access_key = %s\n", awsKeyID, awsSecret)
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
			t.Setenv("AWS_PROFILE", "ci")
			t.Setenv("AWS_REGION", "us-east-2") // ours, not the registry's
			return nil
		},
		"container": func(t *testing.T) *tally {
			giver := &tally{serve: func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "pod-token" {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				fmt.Fprintf(w, `{"AccessKeyId": %q, "SecretAccessKey": %q, "Token": "t", "Expiration": %q}`, awsKeyID, awsSecret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
			}}
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte("pod-token"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://"+serve(t, giver)+"/creds")
			t.Setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file)
			return giver
		},
		"web identity": func(t *testing.T) *tally {
			giver := &tally{serve: func(w http.ResponseWriter, r *http.Request) {
				if r.FormValue("WebIdentityToken") != "pod-jwt" || r.FormValue("RoleArn") != "arn:aws:iam::123456789012:role/hoist" {
					w.WriteHeader(http.StatusForbidden)
					return
				}
				fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>%s</AccessKeyId><SecretAccessKey>%s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, awsKeyID, awsSecret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
			}}
			file := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(file, []byte("pod-jwt"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_ENDPOINT_URL_STS", "http://"+serve(t, giver))
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", file)
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/hoist")
			return giver
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, api, _ := onECR(t)
			giver := become(t)
			s.scanTwice(t, "aws")
			if n := api.asked(); n != 1 {
				t.Errorf("ECR was asked for %d tokens by 21 scans, want 1", n)
			}
			if giver != nil && giver.asked() != 1 {
				t.Errorf("the giver of the identity was asked %d times by 21 scans, want once", giver.asked())
			}
		})
	}
}

// The public registry has an API of its own, in one region.
func TestAWSPublic(t *testing.T) {
	registry := &bearer{user: "AWS", pass: "ecr-password-1", realm: "https://public.ecr.aws/token"}
	registry.list.set("1.0")
	s := newSky(t, publicECR, registry)
	awsKeys(t)
	t.Setenv("AWS_REGION", "eu-west-1")
	api := ecrAPI(s.clock, "/us-east-1/ecr-public/aws4_request", func() string { return registry.pass })
	t.Setenv("AWS_ENDPOINT_URL_ECR_PUBLIC", "http://"+serve(t, api))
	s.scanTwice(t, "aws")
	if n := api.asked(); n != 1 {
		t.Errorf("ECR was asked for %d tokens by 21 scans, want 1", n)
	}
}

// A token is renewed shortly before it ends, and where the registry does not
// take it any more.
func TestCloudTokenIsRenewed(t *testing.T) {
	s, api, registry := onECR(t)
	awsKeys(t)
	src := s.image("aws", "acme/web")
	for _, step := range []struct {
		pass time.Duration
		want int
	}{{0, 1}, {11*time.Hour + 54*time.Minute, 1}, {2 * time.Minute, 2}, {time.Hour, 2}} {
		s.clock.pass(step.pass)
		mustScan(t, s.Scanner, src)
		if n := api.asked(); n != step.want {
			t.Fatalf("%d tokens after another %s, want %d", n, step.pass, step.want)
		}
	}
	registry.set("ecr-password-2")
	err := scanError(t, s.Scanner, src, "401 unauthorized", "rejects the credentials from the identity in AWS")
	if strings.Contains(err.Error(), "ecr-password") {
		t.Errorf("%v shows the password", err)
	}
	mustScan(t, s.Scanner, src)
	if n := api.asked(); n != 3 {
		t.Errorf("%d tokens after one was rejected, want 3", n)
	}
}

// N5, N6: what AWS says no to is told without what it was told, and is not
// asked by every image.
func TestAWSRefuses(t *testing.T) {
	s, api, _ := onECR(t)
	awsKeys(t)
	api.serve = refuseWith(http.StatusBadRequest,
		`{"__type": "AccessDeniedException", "message": "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: ecr:GetAuthorizationToken; key %s session-token-1"}`, awsSecret)
	s.refuse(t, "aws", api.asked, []string{awsSecret, "session-token-1"},
		"ask AWS for credentials for "+ecrTestHost, "ECR GetAuthorizationToken (AccessDeniedException, User: arn:aws:iam::123456789012:user/ci is not authorized", "give the pod an AWS identity")
}

// Nobody knows us: the message says so and what to do.
func TestAWSWithoutIdentity(t *testing.T) {
	s, api, _ := onECR(t)
	scanError(t, s.Scanner, s.image("aws", "acme/web"), "ask AWS for credentials for "+ecrTestHost, "there is no identity", "give the pod an AWS identity")
	if n := api.asked(); n > 0 {
		t.Errorf("ECR was asked %d times without an identity", n)
	}
}
