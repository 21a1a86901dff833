package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const small = "apiVersion: hoist/v1\nkind: Config\nrepositories:\n  - {name: NAME, url: https://git.example.com/acme/NAME, branch: main}\n"

// write makes files below a new directory and goes there.
func write(t *testing.T, files map[string]string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func named(name string) string { return strings.ReplaceAll(small, "NAME", name) }

func names(c *Config) (all []string) {
	for _, r := range c.Repositories {
		all = append(all, r.Name.Name)
	}
	return all
}

func TestLoadPlaces(t *testing.T) {
	write(t, map[string]string{
		"b.yaml": named("b"), "conf/2.yaml": named("two"), "conf/1.yaml": named("one"), "conf/x.yml": named("yml"),
		"conf/README.md": "text", "conf/.hidden.yaml": named("hidden"), "conf/sub/3.yaml": named("three"),
	})
	if err := os.Symlink("../b.yaml", "conf/3.yaml"); err != nil { // as a ConfigMap is mounted
		t.Fatal(err)
	}
	c, err := load(strings.NewReader(named("stdin")), []string{"conf", "-", "./conf/../conf/1.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(c), []string{"one", "two", "b", "stdin"}; !slices.Equal(got, want) {
		t.Errorf("repositories %q, want %q", got, want)
	}
	if l := c.Lints(); len(l) == 0 || l[0].String() != "conf/x.yml: is not read: of a directory only *.yaml files are" {
		t.Errorf("Lints() = %v, want the one about x.yml first", l)
	}
}

// A relative secretDir is beside the file that names it, from wherever that is
// loaded, and from wherever its view is.
func TestRelativeSecretDirs(t *testing.T) {
	text := `apiVersion: hoist/v1
kind: Config
repositories: [{name: r, url: https://git.example.com/r, branch: main, secretDir: git}]
images:
  - {name: i, image: ghcr.io/a/b, secretDir: ../login, certSecretDir: ./ca, proxySecretDir: /etc/proxy, verify: {cosign: {secretDir: keys}}, policy: {semver: {range: 1.x}}}
webhooks: [{name: w, type: distribution, secretDir: hook}]
`
	write(t, map[string]string{"conf/hoist.yaml": text})
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dirs := func(c *Config) []string {
		i := c.Images[0]
		return []string{c.Repositories[0].SecretDir, i.SecretDir, i.CertSecretDir, i.ProxySecretDir, i.Verify.Cosign.SecretDir, c.Webhooks[0].SecretDir}
	}
	c, err := Load("conf/hoist.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{here + "/conf/git", here + "/login", here + "/conf/ca", "/etc/proxy", here + "/conf/keys", here + "/conf/hook"}
	if got := dirs(c); !slices.Equal(got, want) {
		t.Errorf("in a file: %q, want %q", got, want)
	}
	view, err := c.View()
	if err != nil {
		t.Fatal(err)
	}
	if c, err = load(bytes.NewReader(view), []string{"-"}); err != nil || !slices.Equal(dirs(c), want) {
		t.Errorf("in its view: %q, want %q; %v", dirs(c), want, err)
	}
	if c, err = load(strings.NewReader(text), []string{"-"}); err != nil {
		t.Fatal(err)
	}
	if got, want := dirs(c), []string{"git", "../login", "ca", "/etc/proxy", "keys", "hook"}; !slices.Equal(got, want) {
		t.Errorf("from standard input: %q, want %q, of the working directory", got, want)
	}
}

func TestLoadNothing(t *testing.T) {
	write(t, map[string]string{"good.yaml": named("x"), "empty/README.md": ""})
	for _, row := range []struct {
		paths []string
		want  string
	}{
		{nil, "configuration: no file was named"},
		{[]string{"good.yaml", "gone.yaml"}, "gone.yaml: no such file"},
		{[]string{"empty"}, "empty: the directory holds no *.yaml file"},
	} {
		c, err := Load(row.paths...)
		if err == nil || c != nil || err.Error() != row.want {
			t.Errorf("Load(%q) = %v, %v, want no configuration and %q", row.paths, c, err, row.want)
		}
	}
	if _, err := Load("gone.yaml"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Load of a missing file: %v, want one that is os.ErrNotExist", err)
	}
}

// TestLoadFaultsOfAllFiles wants the faults in the order in which the files were given.
func TestLoadFaultsOfAllFiles(t *testing.T) {
	write(t, map[string]string{"z.yaml": "apiVersion: v1\n", "a.yaml": "kind: Config\n"})
	_, err := Load("z.yaml", "missing.yaml", "a.yaml")
	var faults Faults
	if !errors.As(err, &faults) {
		t.Fatalf("Load: %T, want Faults", err)
	}
	var got []string
	for _, f := range faults {
		got = append(got, f.File)
	}
	if want := []string{"z.yaml", "missing.yaml", "a.yaml"}; !slices.Equal(slices.Compact(got), want) {
		t.Errorf("faults of %q, want %q", got, want)
	}
}

func TestLoadBounds(t *testing.T) {
	write(t, map[string]string{"big.yaml": strings.Repeat("# comment\n", maxFileSize/10+1)})
	if _, err := Load("big.yaml"); err == nil || err.Error() != "big.yaml: the file is larger than 4 MiB" {
		t.Errorf("Load of a huge file: %v", err)
	}
	if _, err := Parse("big.yaml", make([]byte, maxFileSize+1)); err == nil || !strings.Contains(err.Error(), "larger than 4 MiB") {
		t.Errorf("Parse of a huge file: %v", err)
	}
	for name, text := range map[string]string{
		"deep list":    "a: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000),
		"deep mapping": strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000),
		"UTF-16":       "\xff\xfea\x00:\x00",
		"NUL":          "a: \x00b",
	} {
		if _, err := Parse("x.yaml", []byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestParseSpellings reads what editors on other systems leave behind.
func TestParseSpellings(t *testing.T) {
	for name, text := range map[string]string{
		"CRLF":         strings.ReplaceAll(named("x"), "\n", "\r\n"),
		"BOM":          "\ufeff" + named("x"),
		"no last line": strings.TrimSuffix(named("x"), "\n"),
		"directives":   "%YAML 1.1\n---\n" + named("x") + "...\n---\n# nothing behind it\n",
		"JSON":         `{"apiVersion": "hoist/v1", "kind": "Config", "repositories": [{"name": "x", "url": "https://git.example.com/x/x", "branch": "main"}]}`,
	} {
		c, err := Parse("x.yaml", []byte(text))
		if err != nil || !slices.Equal(names(c), []string{"x"}) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestParseKeepsSecretsToItself writes passwords where people put them by
// mistake and wants none of them in a message.
func TestParseKeepsSecretsToItself(t *testing.T) {
	const secret = "hunter2"
	for _, entry := range []string{
		"secretRef: " + secret, "secretDir: [" + secret + "]", "password: " + secret, "secretRef: {name: {a: " + secret + "}}",
		"url: https://user:" + secret + "@git.example.com/a/b", "url: [https://user:" + secret + "@git.example.com]",
		"branch: {" + secret + ": x}", "url: 'https://" + secret + "@git example.com/a'", "interval: https://u:" + secret + "@x/y",
		"suspend: https://u:" + secret + "@x/y",
	} {
		_, err := Parse("x.yaml", []byte("apiVersion: hoist/v1\nkind: Config\nrepositories:\n  - name: x\n    "+entry+"\n"))
		if err == nil || strings.Contains(strings.ReplaceAll(err.Error(), "branch."+secret, ""), secret) {
			t.Errorf("%s: %v", entry, err)
		}
	}
}
