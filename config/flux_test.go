package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"hoist/reconcile"
	"time"

	"hoist/bump"
)

// fluxSet is one document of each kind, in the versions given.
func fluxSet(source, image, automation, kustomize string) string {
	return fmt.Sprintf(`apiVersion: source.toolkit.fluxcd.io/%s
kind: GitRepository
metadata: {name: fleet, namespace: ops}
spec: {url: "ssh://git@git.example.com/acme/fleet", interval: 1m, ref: {branch: trunk}, secretRef: {name: key}}
---
apiVersion: image.toolkit.fluxcd.io/%s
kind: ImageRepository
metadata: {name: web, namespace: ops}
spec: {image: registry.example.com/acme/web, interval: 5m0s, secretRef: {name: pull}, certSecretRef: {name: ca}}
---
apiVersion: image.toolkit.fluxcd.io/%[2]s
kind: ImagePolicy
metadata: {name: web-stable, namespace: dev}
spec:
  imageRepositoryRef: {name: web, namespace: ops}
  filterTags: {pattern: '^v(?P<v>.*)$', extract: '$v'}
  policy: {semver: {range: ^1.0}}
---
apiVersion: image.toolkit.fluxcd.io/%[3]s
kind: ImageUpdateAutomation
metadata: {name: web, namespace: ops}
spec:
  interval: 10m
  sourceRef: {apiVersion: source.toolkit.fluxcd.io/v1, kind: GitRepository, name: fleet}
  git:
    checkout: {ref: {branch: trunk}}
    commit: {author: {email: bot@example.com, name: Bot}, messageTemplate: "{{.NewImage}}"}
    push: {branch: trunk}
  update: {path: ./apps, strategy: Setters}
---
apiVersion: kustomize.toolkit.fluxcd.io/%[4]s
kind: Kustomization
metadata: {name: web, namespace: dev}
spec:
  interval: 10m
  retryInterval: 2m
  timeout: 3m
  path: ./apps
  prune: true
  wait: true
  targetNamespace: shop
  sourceRef: {kind: GitRepository, name: fleet, namespace: ops}
  healthChecks: [{apiVersion: apps/v1, kind: Deployment, name: web, namespace: shop}]
`, source, image, automation, kustomize)
}

// TestFluxVersions reads every kind in every version into the same model.
func TestFluxVersions(t *testing.T) {
	for _, v := range fluxVersions {
		t.Run(v, func(t *testing.T) {
			c, err := Parse("flux.yaml", []byte(fluxSet(v, v, v, v)))
			if err != nil {
				t.Fatal(err)
			}
			if l := c.Lints(); len(l) > 0 {
				t.Errorf("Lints() = %v", l)
			}
			r, i, p, u, a := c.Repositories[0], c.Images[0], c.Policies[0], c.Updates[0], c.Apply[0]
			ops := func(n string) bump.Name { return bump.Name{Namespace: "ops", Name: n} }
			got := []any{
				r.Name, r.URL, r.Branch, time.Duration(r.Interval), r.SecretRef.Name,
				i.Name, i.Image, time.Duration(i.Interval), i.SecretRef.Name, i.CertSecretRef.Name,
				p.Name, p.Image, p.Spec.Policy.SemVer.Range, *p.Spec.FilterTags,
				u.Name, u.Repository, u.Path, u.Branch, u.Commit.Author, u.Commit.MessageTemplate, time.Duration(u.Interval),
				a.Name, a.RepositoryName, a.Path, time.Duration(a.RetryInterval), time.Duration(a.Timeout), a.Prune, a.Wait, a.TargetNamespace, a.HealthChecks,
			}
			want := []any{
				ops("fleet"), "ssh://git@git.example.com/acme/fleet", "trunk", time.Minute, "key",
				ops("web"), "registry.example.com/acme/web", 5 * time.Minute, "pull", "ca",
				bump.Name{Namespace: "dev", Name: "web-stable"}, ops("web"), "^1.0", "{^v(?P<v>.*)$ $v}",
				ops("web"), ops("fleet"), "apps", "trunk", "{Bot bot@example.com}", "{{.NewImage}}", 10 * time.Minute,
				bump.Name{Namespace: "dev", Name: "web"}, ops("fleet"), "./apps", 2 * time.Minute, 3 * time.Minute, true, true, "shop", "[{apps/v1 Deployment web shop}]",
			}
			for n := range want {
				if g, w := fmt.Sprint(got[n]), fmt.Sprint(want[n]); g != w {
					t.Errorf("value %d is %s, want %s", n, g, w)
				}
			}
			if p.Policy == nil || p.Policy.Name() != p.Name {
				t.Error("the policy was not compiled under its name")
			}
		})
	}
}

// TestFluxEveryField sets each field of each version alone: a supported one or
// one without meaning passes or is judged by its value, a refused one is named,
// one of another version is told from a typing error.
func TestFluxEveryField(t *testing.T) {
	for _, k := range fluxKinds() {
		for _, version := range fluxVersions {
			for _, f := range fluxFields(k.name) {
				t.Run(k.name+"/"+version+"/"+f.path, func(t *testing.T) {
					text := fmt.Sprintf("apiVersion: %s/%s\nkind: %s\nmetadata: {name: x}\nspec:\n%s", k.group, version, k.name, nest(f.path))
					_, err := Parse("flux.yaml", []byte(text))
					path := "spec." + strings.ReplaceAll(f.path, "[]", "[0]") + ": "
					message := ""
					if err != nil {
						for line := range strings.SplitSeq(err.Error(), "\n") {
							if strings.Contains(line, path) {
								message = line
							}
						}
					}
					exists := f.versions == "" || strings.Contains(" "+f.versions+" ", " "+version+" ")
					switch {
					case !exists && !strings.Contains(message, "is not a field of "+version):
						t.Errorf("fault %q, want one that says it is of another version:\n%s%v", message, text, err)
					case exists && f.fate == refused && !strings.Contains(message, "is not supported yet"):
						t.Errorf("fault %q, want one that says it is not supported:\n%s%v", message, text, err)
					case exists && f.fate != refused && (strings.Contains(message, "unknown") || strings.Contains(message, "supported")):
						t.Errorf("fault %q of a field that is read:\n%s", message, text)
					case f.fate != supported && f.note == "":
						t.Error("no note says what to do instead, or why nothing is lost")
					}
				})
			}
		}
	}
}

// nest writes a value at a path below spec.
func nest(path string) string {
	var b strings.Builder
	indent := "  "
	parts := strings.Split(path, ".")
	for i, p := range parts {
		key, list := strings.CutSuffix(p, "[]")
		b.WriteString(indent + key + ":")
		switch {
		case i == len(parts)-1:
			b.WriteString(" something\n")
		case list:
			b.WriteString("\n" + indent + "  -\n")
			indent += "    "
		default:
			b.WriteString("\n")
			indent += "  "
		}
	}
	return b.String()
}

// TestFluxHarmless accepts values of unsupported fields that say what Hoist does anyway.
func TestFluxHarmless(t *testing.T) {
	text := fluxSet("v1", "v1", "v1", "v1")
	for _, row := range []struct{ after, add string }{
		{"  sourceRef: {kind: GitRepository, name: fleet, namespace: ops}\n", "  force: false\n  deletionPolicy: Orphan\n  patches: []\n  postBuild: {}\n  decryption: null\n"},
		{"  policy: {semver: {range: ^1.0}}\n", "  digestReflectionPolicy: Never\n  suspend: false\n"},
		{`ref: {branch: trunk}, `, `provider: generic, recurseSubmodules: false, include: [], `},
	} {
		if !strings.Contains(text, row.after) {
			t.Fatalf("%q is not in the text", row.after)
		}
		text = strings.Replace(text, row.after, row.after+row.add, 1)
	}
	if _, err := Parse("flux.yaml", []byte(text)); err != nil {
		t.Errorf("Parse:\n%v\n%s", err, text)
	}
}

// Rules that leave fields to others are what "ignore" is.
func TestFluxDriftIgnoreRules(t *testing.T) {
	at := "  sourceRef: {kind: GitRepository, name: fleet, namespace: ops}\n"
	text := strings.Replace(fluxSet("v1", "v1", "v1", "v1"), at, at+"  driftIgnoreRules:\n  - paths: [/spec/replicas]\n    target: {kind: Deployment, name: web}\n", 1)
	cfg, err := Parse("flux.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []reconcile.IgnoreRule{{Paths: []string{"/spec/replicas"}, Target: reconcile.IgnoreTarget{Kind: "Deployment", Name: "web"}}}
	if got := cfg.Apply[0].Ignore; !reflect.DeepEqual(got, want) {
		t.Errorf("ignore is %+v, want %+v", got, want)
	}
	wrong := strings.Replace(text, "[/spec/replicas]", "[spec]", 1)
	if _, err := Parse("flux.yaml", []byte(wrong)); err == nil || !strings.Contains(err.Error(), "spec.driftIgnoreRules[0].paths[0]") {
		t.Errorf("a path that is no pointer: %v", err)
	}
}
