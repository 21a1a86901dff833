package reconcile

import (
	"strings"
	"testing"

	"hoist/bump"
)

// kubeconfigOf is a kubeconfig with fields of its cluster and its user.
func kubeconfigOf(cluster, user string) string {
	return `apiVersion: v1
kind: Config
current-context: here
contexts:
- {name: here, context: {cluster: c, user: u}}
- {name: there, context: {cluster: c, user: nobody}}
- {name: nowhere, context: {cluster: d, user: u}}
clusters:
- {name: c, cluster: {server: "https://127.0.0.1:1"` + cluster + `}}
users:
- {name: u, user: {` + user + `}}
`
}

func TestRemoteConfig(t *testing.T) {
	for title, row := range map[string]struct {
		text, context string
		err           string // "" for none
	}{
		"token":            {kubeconfigOf("", "token: sesame"), "", ""},
		"proxy":            {kubeconfigOf(", proxy-url: 'http://127.0.0.1:2'", "token: sesame"), "here", ""},
		"exec":             {kubeconfigOf("", "exec: {apiVersion: client.authentication.k8s.io/v1, command: sh, interactiveMode: Never}"), "", "exec would run a program where Hoist runs: use a token, or client-certificate-data and client-key-data"},
		"auth-provider":    {kubeconfigOf("", "auth-provider: {name: gcp}"), "", "auth-provider is of a plug-in that Hoist does not have: use a token, or client-certificate-data and client-key-data"},
		"token file":       {kubeconfigOf("", "tokenFile: /var/run/secrets/token"), "", "tokenFile names a file where Hoist runs: put its content into token"},
		"token and file":   {kubeconfigOf("", "token: sesame, tokenFile: /var/run/secrets/token"), "", "tokenFile names a file where Hoist runs: put its content into token"},
		"certificate file": {kubeconfigOf("", "client-certificate: a.crt, client-key-data: ''"), "", "client-certificate names a file where Hoist runs: put its content into client-certificate-data"},
		"key file":         {kubeconfigOf("", "client-key: a.key"), "", "client-key names a file where Hoist runs: put its content into client-key-data"},
		"authority file":   {kubeconfigOf(", certificate-authority: ca.crt", "token: sesame"), "", "certificate-authority names a file where Hoist runs: put its content into certificate-authority-data"},
		"unverified":       {kubeconfigOf(", insecure-skip-tls-verify: true", "token: sesame"), "", "insecure-skip-tls-verify would give the credentials to anybody who answers: put the authority into certificate-authority-data"},
		"unknown context":  {kubeconfigOf("", "token: sesame"), "elsewhere", `has no context "elsewhere"; it has here, nowhere, there`},
		"unknown user":     {kubeconfigOf("", "token: sesame"), "there", `context "there" names user "nobody", which it does not have`},
		"unknown cluster":  {kubeconfigOf("", "token: sesame"), "nowhere", `context "nowhere" names cluster "d", of which it does not say where it is`},
		"no context":       {strings.Replace(kubeconfigOf("", "token: sesame"), "current-context: here\n", "", 1), "", "has no current-context: set one there, or name the context in the configuration; it has here, nowhere, there"},
		"empty":            {"", "", "has no current-context: set one there, or name the context in the configuration"},
		"no kubeconfig":    {"token: [sesame", "", "is not a kubeconfig (what is wrong is not repeated, it may hold credentials)"},
		"a wrong type":     {kubeconfigOf("", "token: {sesame: 1}"), "", "is not a kubeconfig (what is wrong is not repeated, it may hold credentials)"},
	} {
		t.Run(title, func(t *testing.T) {
			cfg, err := RemoteConfig([]byte(row.text), row.context)
			if got := errorText(err); got != row.err {
				t.Fatalf("error %q, want %q", got, row.err)
			}
			if err == nil && (cfg.Host != "https://127.0.0.1:1" || cfg.BearerToken != "sesame") {
				t.Errorf("host %q, token %q", cfg.Host, cfg.BearerToken)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestKubeconfigKeys(t *testing.T) {
	for _, row := range []struct {
		keys, key, want, err string
	}{
		{"value value.yaml other", "", "value", ""},
		{"value.yaml other", "", "value.yaml", ""},
		{"value other", "other", "other", ""},
		{"value", "other", "", "has no key other"},
		{"other", "", "", "has no key value or value.yaml"},
	} {
		secret := bump.Secret{}
		for _, k := range strings.Fields(row.keys) {
			secret[k] = []byte(k)
		}
		got, err := Kubeconfig(secret, row.key)
		if string(got) != row.want || errorText(err) != row.err {
			t.Errorf("Kubeconfig(%s, %q) = %q, %v, want %q, %q", row.keys, row.key, got, err, row.want, row.err)
		}
	}
}
