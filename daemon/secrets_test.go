package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hoist/bump"
)

func TestSecretDirIsReadAtEveryUse(t *testing.T) { // D9
	dir := t.TempDir()
	write := func(name, value string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// as the kubelet mounts a Secret: a key is a link into a folder of the version
	if err := os.Mkdir(filepath.Join(dir, "..2026"), 0o700); err != nil {
		t.Fatal(err)
	}
	write("..2026/password", "first")
	if err := os.Symlink("..2026/password", filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	write(".dockerconfigjson", "{}")
	read := newSecretStore(nil, time.Now).source(bump.Name{}, nil, dir)
	for _, want := range []string{"first", "second"} {
		write("..2026/password", want)
		s, err := read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if string(s["password"]) != want || len(s) != 2 {
			t.Errorf("password %q among %d keys, want %q among 2", s["password"], len(s), want)
		}
		if text := fmt.Sprintf("%v %+v %#v %s", s, s, s, s); strings.Contains(text, want) {
			t.Errorf("a printed secret shows its value: %s", text)
		}
	}
}

func TestSecretDirWithoutFilesIsAnError(t *testing.T) {
	if s, err := readSecretDir(t.TempDir()); err == nil {
		t.Errorf("readSecretDir of an empty folder = %v, want an error", s)
	}
	if newSecretStore(nil, time.Now).source(bump.Name{}, nil, "") != nil {
		t.Error("an entry without a secret has a reader")
	}
}
