package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"hoist/bump"
	"hoist/testenv/sealer"
)

// vault is a key pair, and what encrypts for it.
type vault struct {
	private   []byte
	recipient string
	sealer    *sealer.Sealer
}

func newVault(t testing.TB) vault {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a built program")
	}
	private, recipient, err := sealer.AgeKey()
	if err != nil {
		t.Fatal(err)
	}
	s, err := sealer.New(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return vault{private, recipient, s}
}

// seal encrypts a file of a format; of YAML only data, stringData and spec.
func (v vault) seal(t testing.TB, format, text string) string {
	t.Helper()
	r := sealer.Request{Format: format, Text: []byte(text), Groups: []sealer.Group{{Age: []string{v.recipient}}}}
	if format == "yaml" {
		r.EncryptedRegex = "^(data|stringData|spec)$"
	}
	b, err := v.sealer.Seal(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// app has the vault's key.
func (v vault) app() App {
	return App{Path: "prod", Decryption: &Decryption{SecretRef: &bump.LocalRef{Name: "keys"}}, Keys: func(context.Context) (bump.Secret, error) {
		return bump.Secret{"a.agekey": v.private}, nil
	}}
}

const plainSecret = "apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: hunter2-hunter2, \"no\": \"yes\"}\n"

// Encrypted files are opened wherever a build reads them.
func TestBuildOpensEncryptedFiles(t *testing.T) {
	v := newVault(t)
	fsys := tree(
		"prod/kustomization.yaml", `resources: [db.yaml, custom.yaml, web.yaml]
namespace: shop
patches: [{path: patch.yaml}]
secretGenerator:
- {name: files, files: [app.conf, raw=raw.enc], options: {disableNameSuffixHash: true}}
- {name: envs, envs: [app.env], options: {disableNameSuffixHash: true}}
`,
		"prod/db.yaml", v.seal(t, "yaml", plainSecret+"---\n"+strings.Replace(plainSecret, "name: db", "name: db2", 1)),
		"prod/custom.yaml", v.seal(t, "yaml", "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: thing}\nspec: {token: hunter2-token, port: 8443}\n"),
		"prod/web.yaml", deployment,
		"prod/patch.yaml", v.seal(t, "yaml", "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {metadata: {annotations: {key: hunter2-patch}}}}\n"),
		"prod/app.conf", v.seal(t, "binary", "hunter2-conf\n"),
		"prod/raw.enc", v.seal(t, "binary", "\xff\x00hunter2-raw"),
		"prod/app.env", v.seal(t, "dotenv", "KEY=hunter2-env\n"),
	)
	s := mustBuild(t, fsys, v.app())
	got := map[string]string{}
	for _, m := range s.Objects {
		for _, path := range []string{"data.password", "data.no", "spec.token", "spec.port", "data.app.conf", "data.raw", "data.KEY", "spec.template.metadata.annotations.key"} {
			steps := strings.Split(path, ".")
			if path == "data.app.conf" {
				steps = []string{"data", "app.conf"}
			}
			if value, ok, _ := unstructured.NestedFieldNoCopy(m.Object.Object, steps...); ok {
				got[nameOf(m.Object).String()+" "+path] = strings.TrimSpace(brief(value))
			}
		}
		if len(m.hidden) == 0 && m.Object.GetKind() != "Secret" {
			t.Errorf("%s: nothing of it is hidden", nameOf(m.Object))
		}
	}
	for at, want := range map[string]string{
		"Secret/shop/db data.password": `"aHVudGVyMi1odW50ZXIy"`, "Secret/shop/db data.no": `"eWVz"`, "Secret/shop/db2 data.password": `"aHVudGVyMi1odW50ZXIy"`,
		"Thing/shop/thing spec.token": `"hunter2-token"`, "Thing/shop/thing spec.port": "8443",
		"Secret/shop/files data.app.conf": `"aHVudGVyMi1jb25mCg=="`, "Secret/shop/files data.raw": `"/wBodW50ZXIyLXJhdw=="`,
		"Secret/shop/envs data.KEY":                                  `"aHVudGVyMi1lbnY="`,
		"Deployment/shop/web spec.template.metadata.annotations.key": `"hunter2-patch"`,
	} {
		if got[at] != want {
			t.Errorf("%s = %s, want %s", at, got[at], want)
		}
	}
	if len(s.Plaintext) != 0 {
		t.Errorf("Plaintext = %q, want nothing", s.Plaintext)
	}
}

// B12, B13: what cannot be opened fails the app as a whole, and says what to do.
func TestB12B13UnopenedFilesFailTheBuild(t *testing.T) {
	v, other := newVault(t), newVault(t)
	sealed := v.seal(t, "yaml", plainSecret)
	wrong := v.app()
	wrong.Keys = other.app().Keys
	gone := v.app()
	gone.Keys = func(context.Context) (bump.Secret, error) { return nil, errors.New("no such secret") }
	for name, c := range map[string]struct {
		app  App
		file string
		want []string
	}{
		"another key": {wrong, sealed, []string{"build prod: prod/db.yaml: is encrypted for " + v.recipient, "there are " + other.recipient, "secret /keys", "sops updatekeys"}},
		"no secret":   {gone, sealed, []string{"prod/db.yaml: is encrypted by SOPS: read the keys: no such secret"}},
		"changed":     {v.app(), strings.Replace(sealed, "name: db", "name: db2", 1), []string{"prod/db.yaml: was changed after it was encrypted", "edit it with sops"}},
	} {
		_, err := Build(t.Context(), tree("prod/db.yaml", c.file, "prod/other.yaml", configMap("other", "x")), c.app)
		if err == nil {
			t.Errorf("%s: built", name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", name, err, want)
			}
		}
	}
}

// B14: without decryption an encrypted file is refused, with the word to add.
func TestB14EncryptedWithoutDecryptionIsRefused(t *testing.T) {
	v := newVault(t)
	for name, files := range map[string][]string{
		"Secret":          {"prod/db.yaml", v.seal(t, "yaml", plainSecret)},
		"secretGenerator": {"prod/kustomization.yaml", "secretGenerator: [{name: s, files: [a]}]\n", "prod/a", v.seal(t, "binary", "x")},
	} {
		_, err := Build(t.Context(), tree(files...), App{Path: "prod"})
		if err == nil || !strings.Contains(err.Error(), "under decryption of the app") {
			t.Errorf("%s: %v, want a refusal that names decryption", name, err)
		}
	}
}

// A ConfigMap must not be made of an encrypted file.
func TestConfigMapOfAnEncryptedFileIsRefused(t *testing.T) {
	v := newVault(t)
	sealed := v.seal(t, "dotenv", "KEY=hunter2\n")
	for name, files := range map[string][]string{
		"envs":   {"prod/kustomization.yaml", "configMapGenerator:\n- name: c\n  envs:\n  - app.env\n"},
		"files":  {"prod/kustomization.yaml", "configMapGenerator: [{name: c, files: [x=app.env]}]\n"},
		"plugin": {"prod/kustomization.yaml", "generators: [gen.yaml]\n", "prod/gen.yaml", "apiVersion: builtin\nkind: ConfigMapGenerator\nmetadata: {name: c}\nenvs: [app.env]\n"},
		"inline": {"prod/kustomization.yaml", "generators:\n- |\n  apiVersion: builtin\n  kind: ConfigMapGenerator\n  metadata: {name: c}\n  envs: [app.env]\n"},
	} {
		s, err := Build(t.Context(), tree(append(files, "prod/app.env", sealed)...), v.app())
		if err == nil || !strings.Contains(err.Error(), `"app.env" is encrypted by SOPS`) || !strings.Contains(err.Error(), "secretGenerator") {
			t.Errorf("%s: %v, %v, want a refusal", name, s, err)
		}
		if name == "envs" && !strings.Contains(err.Error(), "prod/kustomization.yaml:4: configMapGenerator[0].envs[0]") {
			t.Errorf("%s: %v, want its line", name, err)
		}
	}
}

// What is decrypted in the cluster passes as it is, but for Secrets.
func TestDecryptDisabledLeavesTheObject(t *testing.T) {
	v := newVault(t)
	object := func(kind, annotation string) string {
		return v.seal(t, "yaml", "apiVersion: v1\nkind: "+kind+"\nmetadata:\n  name: a\n  annotations: {"+annotation+"}\nstringData: {key: hunter2}\n")
	}
	for _, annotation := range []string{"hoist/decrypt: disabled", "kustomize.toolkit.fluxcd.io/decrypt: Disabled"} {
		s := mustBuild(t, tree("prod/a.yaml", object("Sealed", annotation)), v.app())
		if got, _, _ := nested(s.Objects[0].Object.Object, "stringData", "key"); !strings.HasPrefix(got.(string), sopsValue) {
			t.Errorf("%s: key = %v, want it encrypted", annotation, got)
		}
		s = mustBuild(t, tree("prod/a.yaml", object("Secret", annotation)), v.app())
		if got, _, _ := nested(s.Objects[0].Object.Object, "data", "key"); got != "aHVudGVyMg==" {
			t.Errorf("%s: key of a Secret = %v, want it decrypted", annotation, got)
		}
	}
}

// B17: Secrets that everybody can read in Git are told of, or refused.
func TestB17PlaintextSecretsAreTold(t *testing.T) {
	v := newVault(t)
	fsys := tree(
		"prod/kustomization.yaml", "resources: [plain.yaml, sealed.yaml, variable.yaml, empty.yaml]\nsecretGenerator: [{name: g, files: [sealed.conf], options: {disableNameSuffixHash: true}}, {name: l, literals: [a=b], options: {disableNameSuffixHash: true}}]\n",
		"prod/plain.yaml", plainSecret,
		"prod/sealed.yaml", v.seal(t, "yaml", strings.Replace(plainSecret, "name: db", "name: db2", 1)),
		"prod/variable.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: v}\nstringData: {a: \"${password}\"}\n",
		"prod/empty.yaml", "apiVersion: v1\nkind: Secret\nmetadata: {name: e}\n",
		"prod/sealed.conf", v.seal(t, "binary", "conf"),
	)
	a := v.app()
	got := mustBuild(t, fsys, a).Plaintext
	if len(got) != 2 || !strings.HasPrefix(got[0], "prod/plain.yaml:1: Secret/db: data.password stands in Git") || !strings.Contains(got[1], "Secret/l: data.a") {
		t.Errorf("Plaintext = %q, want the plain Secret and the generated one", got)
	}
	a.PlaintextSecrets = PlaintextRefuse
	if _, err := Build(t.Context(), fsys, a); err == nil || !strings.Contains(err.Error(), "prod/plain.yaml:1: Secret/db") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("refuse: %v", err)
	}
	a.PlaintextSecrets = PlaintextAllow
	if s := mustBuild(t, fsys, a); len(s.Plaintext) != 0 {
		t.Errorf("allow: Plaintext = %q", s.Plaintext)
	}
}

// N5: kustomize repeats what it could not read; nothing of an opened file is in it.
func TestN5BuildErrorsHoldNoValue(t *testing.T) {
	v := newVault(t)
	for name, files := range map[string][]string{
		"a patch that fits nothing": {"prod/kustomization.yaml", "resources: [web.yaml]\npatches: [{path: p.yaml, target: {kind: Deployment}}]\n", "prod/web.yaml", deployment,
			"prod/p.yaml", v.seal(t, "binary", "hunter2-hunter2-hunter2")},
		"a resource that is none": {"prod/kustomization.yaml", "resources: [p.yaml]\n", "prod/p.yaml", v.seal(t, "binary", "hunter2-hunter2: [hunter2-hunter2\n")},
		"a number in a label":     {"prod/kustomization.yaml", "resources: [p.yaml]\n", "prod/p.yaml", v.seal(t, "binary", "apiVersion: v1\nkind: Secret\nmetadata: hunter2-hunter2-hunter2\n")},
		"a path that is not there": {"prod/kustomization.yaml", "resources: [web.yaml]\npatches: [{path: p.json, target: {kind: Deployment}}]\n", "prod/web.yaml", deployment,
			"prod/p.json", v.seal(t, "json", `{"a": "hunter2-hunter2"}`)},
		"a JSON patch": {"prod/kustomization.yaml", "resources: [web.yaml]\npatches: [{path: p.txt, target: {kind: Deployment}}]\n", "prod/web.yaml", deployment,
			"prod/p.txt", v.seal(t, "binary", `[{"op": "replace", "path": "/spec/hunter2-hunter2/x", "value": 1}]`)},
		"a name twice": {"prod/kustomization.yaml", "resources: [p.yaml, q.yaml]\n",
			"prod/p.yaml", v.seal(t, "binary", "apiVersion: v1\nkind: Secret\nmetadata: {name: hunter2-hunter2}\n"), "prod/q.yaml", v.seal(t, "binary", "apiVersion: v1\nkind: Secret\nmetadata: {name: hunter2-hunter2}\n")},
		"an env of no form": {"prod/kustomization.yaml", "secretGenerator: [{name: s, envs: [p.env]}]\n", "prod/p.env", v.seal(t, "binary", "9hunter2-hunter2\n")},
	} {
		_, err := Build(t.Context(), tree(files...), v.app())
		if err == nil {
			t.Errorf("%s: built", name)
		} else if strings.Contains(err.Error(), "hunt") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithoutTraces(t *testing.T) {
	for _, c := range []struct{ text, value, want string }{
		{"cannot read hunter2-hunter2 as int", "hunter2-hunter2", "cannot read *** as int"},
		{"cannot read `hunter2...` as int", "hunter2-hunter2", "cannot read `***...` as int"},
		{`value "one\nline two"`, "one\nline two", `value "one\n***"`},
		{"hunhunter2", "hunter2", "hun***"},
		{"short ab", "ab", "short ab"},
	} {
		if got := withoutTraces(c.text, c.value); got != c.want {
			t.Errorf("withoutTraces(%q, %q) = %q, want %q", c.text, c.value, got, c.want)
		}
	}
}

// N5: in objects that are no Secret a diff and a drift mask what was encrypted.
func TestN5DecryptedValuesAreMasked(t *testing.T) {
	v := newVault(t)
	s := mustBuild(t, tree("prod/a.yaml", v.seal(t, "yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {url: \"https://u:hunter2@h\", pin: \"42\", open: \"true\"}\n")), v.app())
	m := s.Objects[0]
	live := m.Object.DeepCopy()
	_ = unstructured.SetNestedField(live.Object, "https://u:hunter1@h", "data", "url")
	_ = unstructured.SetNestedField(live.Object, "41", "data", "pin")
	text, err := unified(nameOf(m.Object), m.shown(live, "before"), m.shown(m.Object, "after"))
	if err != nil || !strings.Contains(text, "-  url: '*** (before)'") || !strings.Contains(text, "+  url: '***'") {
		t.Errorf("diff: %v\n%s", err, text)
	}
	fields, _ := tellable(m, live, differences(m.Object.Object, live.Object, m.Object.Object, nil), "hoist")
	for _, f := range fields {
		if f.Live != "***" || f.Git != "***" {
			t.Errorf("drift of %s: %s, %s, want both masked", f.Path, f.Live, f.Git)
		}
	}
	for _, value := range []string{"hunter", "42", "41"} {
		if strings.Contains(text, value) {
			t.Errorf("diff holds %s:\n%s", value, text)
		}
	}
}

// The hashes by which a later build is spared are those of Git's files.
func TestUnsealedTreeKeepsItsHashes(t *testing.T) {
	v := newVault(t)
	inner := fstest.MapFS{"a.yaml": {Data: []byte(v.seal(t, "yaml", plainSecret)), Sys: "hash"}}
	var seen any
	a := v.app()
	a.Path = "."
	_, err := Unsealing(func(_ context.Context, fsys fs.FS, _ App) (*Set, error) {
		f, err := fsys.Open("a.yaml")
		if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		seen = info.Sys()
		return &Set{}, err
	})(t.Context(), inner, a)
	if err != nil || seen != "hash" {
		t.Errorf("Sys() = %v, %v", seen, err)
	}
}

// Keys stay here: the process that builds is sent files as they are opened.
func TestUnsealedFilesReachABuildProcess(t *testing.T) {
	v := newVault(t)
	core, logs := observer.New(zap.DebugLevel)
	build := Unsealing(builder(t, BuilderOptions{Log: zap.New(core)}).Build)
	s, err := build(t.Context(), tree("prod/db.yaml", v.seal(t, "yaml", plainSecret)), v.app())
	if err != nil {
		t.Fatal(err)
	}
	if got, _, _ := nested(s.Objects[0].Object.Object, "data", "password"); got != "aHVudGVyMi1odW50ZXIy" {
		t.Errorf("password = %v", got)
	}
	wrong := v.app()
	wrong.Keys = newVault(t).app().Keys
	if _, err := build(t.Context(), tree("prod/db.yaml", v.seal(t, "yaml", plainSecret)), wrong); err == nil || !strings.HasPrefix(err.Error(), "build prod: prod/db.yaml: is encrypted for "+v.recipient) {
		t.Errorf("another key: %v", err)
	}
	if _, err := build(t.Context(), tree("prod/kustomization.yaml", "resources: [p.yaml]\n", "prod/p.yaml", v.seal(t, "binary", "hunter2-hunter2: [hunter2-hunter2\n")), v.app()); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a resource that is none: %v", err)
	}
	for _, l := range logs.All() {
		if text := fmt.Sprint(l.ContextMap()); strings.Contains(text, "hunter2") {
			t.Errorf("the log has %s", text)
		}
	}
}

// A set that was built is kept as long as its files are the same, whatever
// becomes of the keys; who has failed is given them anew.
func TestKeysAreReadForEachBuildThatNeedsThem(t *testing.T) {
	v := newVault(t)
	reads := 0
	a := v.app()
	a.Keys = func(context.Context) (bump.Secret, error) {
		if reads++; reads == 1 {
			return bump.Secret{}, nil
		}
		return bump.Secret{"a.agekey": v.private}, nil
	}
	sealed := tree("prod/db.yaml", v.seal(t, "yaml", plainSecret), "prod/db2.yaml", v.seal(t, "yaml", strings.Replace(plainSecret, "name: db", "name: db2", 1)))
	if _, err := Build(t.Context(), sealed, a); err == nil || reads != 1 {
		t.Errorf("without keys: %v, %d reads", err, reads)
	}
	if _, err := Build(t.Context(), sealed, a); err != nil || reads != 2 {
		t.Errorf("with keys: %v, %d reads, want one for two files", err, reads)
	}
	if _, err := Build(t.Context(), tree("prod/a.yaml", configMap("a", "b")), a); err != nil || reads != 2 {
		t.Errorf("without encrypted files: %v, %d reads, want none", err, reads)
	}
}
