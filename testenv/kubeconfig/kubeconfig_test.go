package kubeconfig

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func TestWriteReadsBack(t *testing.T) {
	for _, want := range []Config{
		{Server: "https://127.0.0.1:6443", CAData: []byte("-----BEGIN"), Token: "abc"},
		{Server: "http://127.0.0.1:8080", Token: "a:b"},
	} {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := Write(path, want); err != nil {
			t.Fatal(err)
		}
		got, err := Read(path)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Read = %+v, %v, want %+v", got, err, want)
		}
		if s, err := os.Stat(path); err != nil || s.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", s.Mode(), err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"clusters:\n- cluster:\n    server: a\n- cluster:\n    server: b\n": ":5: a second server; only a kubeconfig of one cluster and one user is understood here",
		"users:\n- user:\n    client-certificate-data: eA==\n":              ":3: client-certificate-data is not understood here; want certificate-authority-data and token",
		"    certificate-authority-data: '%'\n":                             ":1: certificate-authority-data: illegal base64 data at input byte 0",
		"server: a\n":                                                       ": no server or no token in it",
	} {
		path := filepath.Join(t.TempDir(), "kubeconfig")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || err.Error() != path+want {
			t.Errorf("Read(%q) = %v, want %s", text, err, path+want)
		}
	}
}

// TestClientsUnderstand reads what Write wrote as every client does.
func TestClientsUnderstand(t *testing.T) {
	want := Config{Server: "https://127.0.0.1:6443", CAData: []byte("-----BEGIN"), Token: "yes"}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := Write(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != want.Server || got.BearerToken != want.Token || string(got.CAData) != string(want.CAData) {
		t.Errorf("client-go reads %s %s %s", got.Host, got.BearerToken, got.CAData)
	}
}
