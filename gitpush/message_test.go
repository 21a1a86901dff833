package gitpush

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"hoist/bump"
)

func verdict(file string, line int, policy, image, from, to string, part bump.Part) bump.Verdict {
	name := bump.Name{Namespace: "hoist", Name: policy}
	sel := bump.Selection{Policy: name, Tags: bump.Tags{Image: image}, Tag: to}
	v := bump.Verdict{
		Site: bump.Site{File: file, Line: line, Policy: name, Part: part, Value: from, Field: "spec.containers[0].image",
			Object: bump.Object{APIVersion: "apps/v1", Kind: "Deployment", Namespace: "default", Name: policy}},
		Selection: sel, Outcome: bump.Bump, New: to,
	}
	if part == bump.Whole {
		v.New = sel.Reference()
	}
	return v
}

var (
	webUp = verdict("apps/web.yaml", 14, "web", "example.com/web", "example.com/web:1.4.2", "1.4.3", bump.Whole)
	apiUp = verdict("apps/api.yaml", 9, "api", "api", "2.0.0", "2.1.0", bump.Tag)
	apps  = bump.Name{Namespace: "flux-system", Name: "apps"}
)

const webTrailers = `Bump-Image: example.com/web
Bump-From: 1.4.2
Bump-To: 1.4.3
Bump-Policy: hoist:web
Bump-Field: apps/web.yaml:14 spec.containers[0].image
Bump-Object: Deployment/default/web spec.containers[0].image
Bump-Trigger: webhook`

func TestMessage(t *testing.T) {
	one, two := []bump.Verdict{webUp}, []bump.Verdict{webUp, apiUp}
	tests := []struct {
		name, tmpl string
		vs         []bump.Verdict
		want       string
	}{
		{"default", "", one, "Update web to 1.4.3\n\napps/web.yaml:14: example.com/web:1.4.2 -> example.com/web:1.4.3"},
		{"default for two", "", two, "Update web, api\n\napps/web.yaml:14: example.com/web:1.4.2 -> example.com/web:1.4.3\napps/api.yaml:9: 2.0.0 -> 2.1.0"},
		{"ours", "chore: update {{.AutomatedResource.Name}} to {{.NewImage}} ({{.OldImage}}, {{.Policy}})", one,
			"chore: update web to example.com/web:1.4.3 (example.com/web:1.4.2, hoist:web)"},
		{"old image of a tag field", "{{.OldImage}} -> {{.NewImage}}", []bump.Verdict{apiUp}, "api:2.0.0 -> api:2.1.0"},
		{"images", "{{range .Images}}{{println .}}{{end}}", two, "example.com/web:1.4.3\napi:2.1.0"},
		{"automation object", "{{.AutomationObject}} {{.AutomationObject.Namespace}}", one, "flux-system/apps flux-system"},
		{"values and sprig", `{{.Values.cluster | upper}} {{.Values.none}}!`, one, "PROD !"},
		{"Flux changes", "{{range .Changed.Changes}}{{.OldValue}} to {{.NewValue}} by {{.Setter}}\n{{end}}", two,
			"2.0.0 to 2.1.0 by hoist:api:tag\nexample.com/web:1.4.2 to example.com/web:1.4.3 by hoist:web"},
		{"Flux objects", "{{range $o, $changes := .Changed.Objects}}{{$o.Kind}}/{{$o.Namespace}}/{{$o.Name}}{{range $changes}} {{.NewValue}}{{end}}\n{{end}}", two,
			"Deployment/default/api 2.1.0\nDeployment/default/web example.com/web:1.4.3"},
		{"Flux files", "{{range $f, $objects := .Changed.FileChanges}}{{$f}}{{range $o, $c := $objects}} {{$o.Name}}{{end}}\n{{end}}", two,
			"apps/api.yaml api\napps/web.yaml web"},
		{"Flux v1beta1", "{{range .Updated.Images}}{{println .}}{{end}}", two, "api:2.1.0\nexample.com/web:1.4.3"},
		{"Flux v1beta1 files", "{{range $f, $r := .Updated.Files}}{{$f}}{{range $o, $i := $r.Objects}} {{$o.Name}}{{range $i}} {{.Repository}} {{.Registry}} {{.Identifier}} {{.Policy.Name}}{{end}}{{end}}\n{{end}}",
			one, "apps/web.yaml web web example.com 1.4.3 web"},
		{"trailing space and line ends", "a  \r\n\r\nb\x00\x07c\r", one, "a\n\nbc"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Message(tt.tmpl, NewData(apps, tt.vs, map[string]string{"cluster": "prod"}, "webhook"))
			if err != nil {
				t.Fatalf("Message(%q): %v", tt.tmpl, err)
			}
			text, _, _ := strings.Cut(got, "\n\nBump-")
			if text != tt.want {
				t.Errorf("Message(%q) =\n%s\nwant\n%s", tt.tmpl, text, tt.want)
			}
			if !strings.HasSuffix(got, Trailers(tt.vs, "webhook")) {
				t.Errorf("Message(%q) does not end in the trailers:\n%s", tt.tmpl, got)
			}
		})
	}
}

// A message that does not render is replaced, with a warning; the commit goes on.
func TestMessageFallsBack(t *testing.T) {
	for tmpl, warning := range map[string]string{
		"{{.Nonsense}}":               "can't evaluate field Nonsense",
		"{{":                          "line 1",
		"{{fail \"no\"}}":             "no",
		"{{index .Images 7}}":         "out of range",
		"   {{/* nothing */}}  ":      "renders to nothing",
		`{{repeat 40000 "x"}}`:        "longer than",
		`{{index .Values "a" "b"}}`:   "index",
		"{{.AutomatedResource.Kind}}": "can't evaluate field Kind",
	} {
		got, err := Message(tmpl, NewData(apps, []bump.Verdict{webUp}, nil, "webhook"))
		if err == nil || !strings.Contains(err.Error(), warning) {
			t.Errorf("Message(%q) warns %v, want %q", tmpl, err, warning)
		}
		if !strings.HasPrefix(got, "Update web to 1.4.3\n") || !strings.HasSuffix(got, webTrailers) {
			t.Errorf("Message(%q) = %q, want the default text", tmpl, got)
		}
	}
}

func TestTrailers(t *testing.T) {
	digest := webUp
	digest.Selection.Digest = "sha256:abc"
	digest.Site.Value = "example.com/web:1.4.2@sha256:old"
	name := verdict("k.yaml", 3, "web", "example.com/web", "example.com/web", "1.4.3", bump.Repo)
	tag := verdict("k.yaml", 4, "web", "example.com/web", "1.3.0", "1.4.3", bump.Tag)
	evil := verdict("a b.yaml", 1, "web", "example.com/web\nBump-Policy: evil:one", "1.0\nBump-To: 9", "1.4.3", bump.Tag)
	tests := []struct {
		name string
		vs   []bump.Verdict
		want string
	}{
		{"one", []bump.Verdict{webUp}, webTrailers},
		{"digest", []bump.Verdict{digest}, strings.ReplaceAll(strings.ReplaceAll(webTrailers, "1.4.2", "1.4.2@sha256:old"), "To: 1.4.3", "To: 1.4.3\nBump-Digest: sha256:abc")},
		{"name and tag are one bump", []bump.Verdict{name, tag},
			"Bump-Image: example.com/web\nBump-From: 1.3.0\nBump-To: 1.4.3\nBump-Policy: hoist:web\n" +
				"Bump-Field: k.yaml:4 spec.containers[0].image\nBump-Object: Deployment/default/web spec.containers[0].image\nBump-Field: k.yaml:3 spec.containers[0].image\nBump-Object: Deployment/default/web spec.containers[0].image\nBump-Trigger: webhook"},
		{"two old values are two blocks", []bump.Verdict{webUp, tag},
			strings.TrimSuffix(webTrailers, "\nBump-Trigger: webhook") +
				"\nBump-Image: example.com/web\nBump-From: 1.3.0\nBump-To: 1.4.3\nBump-Policy: hoist:web\nBump-Field: k.yaml:4 spec.containers[0].image\nBump-Object: Deployment/default/web spec.containers[0].image\nBump-Trigger: webhook"},
		{"line breaks cannot forge", []bump.Verdict{evil},
			"Bump-Image: example.com/web Bump-Policy: evil:one\nBump-From: 1.0 Bump-To: 9\nBump-To: 1.4.3\nBump-Policy: hoist:web\n" +
				"Bump-Field: a b.yaml:1 spec.containers[0].image\nBump-Object: Deployment/default/web spec.containers[0].image\nBump-Trigger: webhook"},
	}
	for _, tt := range tests {
		if got := Trailers(tt.vs, "webhook"); got != tt.want {
			t.Errorf("%s: Trailers =\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

// Whatever a template brings, git reads our trailers and no other Bump- line.
// The texts are made of pieces that are known to confuse.
func TestTrailersCannotBeForged(t *testing.T) {
	pieces := []string{
		"Bump-Policy: evil:one", "bump-to : 9", " \tBUMP-Image:evil", "Bump-Trigger:", "Bump-Release: evil:one", "Bump-Hold: 1", "\n", "\n\n", "\r", "\r\n", " ", "\t", "---", "---\n", "--- ",
		"# ------------------------ >8 ------------------------", "> ", "Signed-off-by: x", "Fixes: 1", "(cherry picked from commit abc)", "Conflicts:", "\x00", "\v",
		"\u2028", "\u0085", "# comment", "diff --git a/x b/x", "text", "\xff\xfe", "Bump-\u200bTo: 1", "Bump-", "To: 9", ":", "trailer",
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		var b strings.Builder
		for range rnd.IntN(12) + 1 {
			b.WriteString(pieces[rnd.IntN(len(pieces))])
			if rnd.IntN(3) == 0 {
				b.WriteByte('\n')
			}
		}
		values := map[string]string{"x": b.String()}
		message, _ := Message("{{.Values.x}}", NewData(apps, []bump.Verdict{webUp}, values, "webhook"))
		got := ourTrailers(t, message)
		if got != webTrailers+"\n" {
			t.Fatalf("text %d %q: message\n%s\ngit reads\n%s\nwant\n%s", i, b.String(), message, got, webTrailers)
		}
		// Not even further up, where a squash could bring them to the end.
		above := strings.TrimSuffix(message, webTrailers)
		if regexp.MustCompile(`(?im)^[ \t]*bump-[a-z]*[ \t]*:`).MatchString(above) {
			t.Fatalf("text %q: a line like a trailer is left in\n%s", b.String(), message)
		}
		blocks, _, trigger := parseTrailers(message)
		want := []block{{kind: Bumped, policy: bump.Name{Namespace: "hoist", Name: "web"}, image: "example.com/web", from: "1.4.2", to: "1.4.3",
			fields: []Field{{"apps/web.yaml", 14, "spec.containers[0].image", FieldID(webUp.Site)}}}}
		if !reflect.DeepEqual(blocks, want) || trigger != "webhook" {
			t.Fatalf("text %q: parseTrailers = %+v, %q", b.String(), blocks, trigger)
		}
		// Nor does a reason say more than a reason.
		message = ReleaseMessage(webUp.Site.Policy, "1.4.3", b.String())
		blocks, _, _ = parseTrailers(message)
		want = []block{{kind: Released, policy: webUp.Site.Policy, to: "1.4.3"}}
		if got := ourTrailers(t, message); !reflect.DeepEqual(blocks, want) || len(regexp.MustCompile("(?im)^bump-release:").FindAllString(got, -1)) != 1 {
			t.Fatalf("reason %q: message\n%s\nparseTrailers = %+v", b.String(), message, blocks)
		}
	}
}

// ourTrailers returns what git takes for trailers of ours.
func ourTrailers(t *testing.T, message string) string {
	t.Helper()
	cmd := exec.Command("git", "interpret-trailers", "--parse")
	cmd.Stdin = strings.NewReader(message + "\n")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.SplitSeq(string(out), "\n") {
		if strings.HasPrefix(strings.ToLower(line), "bump-") {
			fmt.Fprintln(&b, line)
		}
	}
	return b.String()
}

func TestCheck(t *testing.T) {
	good := Repository{URL: "https://git.example.com/org/fleet.git", Branch: "main"}
	for _, url := range []string{
		"https://git.example.com/org/fleet.git", "http://10.0.0.1:3000/a/b", "ssh://git@git.example.com:2222/org/fleet.git",
		"git@git.example.com:org/fleet.git", "git.example.com:org/fleet.git", "file:///srv/fleet.git", "https://user@git.example.com/x", "ssh://git@[::1]:22/x",
	} {
		r := good
		if r.URL = url; len(r.Check()) != 0 {
			t.Errorf("Check of url %q = %v, want no fault", url, r.Check())
		}
	}
	for _, url := range []string{
		"", "fleet", "/srv/fleet.git", "ftp://x/y", "git://x/y", "https://", "https://host", "https://host/", "https://u:secretpw@host/x", "ssh://git:secretpw@host/x",
		"https://host/x?y=1", "https://host/a b", "https://host/x\n", "file://srv/x", "ext::sh -c true", "-uroot@x:y", "https://%zz/x",
	} {
		r := good
		r.URL = url
		faults := r.Check()
		if len(faults) != 1 || faults[0].Field != "url" {
			t.Errorf("Check of url %q = %v, want one fault of url", url, faults)
			continue
		}
		if strings.Contains(faults[0].Message, "secretpw") {
			t.Errorf("the fault of %q shows the password: %s", url, faults[0].Message)
		}
	}
	for _, branch := range []string{"", "a b", "-x", "x..y", "refs/heads/main", "x.lock", ".x", "a//b", "x~1", "a:b", "x/", "HEAD", "x\ny", "a@{1}"} {
		r := good
		if r.Branch = branch; len(r.Check()) != 1 {
			t.Errorf("Check of branch %q = %v, want one fault", branch, r.Check())
		}
	}
	all := Repository{URL: "x", Branch: "", Interval: -1, Timeout: -1, SecretRef: &bump.LocalRef{}, SecretDir: "/x"}
	if got := len(all.Check()); got != 6 {
		t.Errorf("Check = %v, want all 6 faults", all.Check())
	}
}

func TestCommitSpecCheck(t *testing.T) {
	ann := Author{"Ann", "ann@example.com"}
	for _, tmpl := range []string{"", "x", "{{.NewImage}}", "{{range .Updated.Images}}{{.}}{{end}}", "{{index .Images 5}}", "{{.Values.anything}}"} {
		if faults := (CommitSpec{Author: ann, MessageTemplate: tmpl}).Check(); len(faults) != 0 {
			t.Errorf("Check of template %q = %v, want no fault", tmpl, faults)
		}
	}
	for _, tmpl := range []string{"{{", "{{.Nope}}", "{{nope}}", "{{env \"HOME\"}}", "{{.AutomatedResource.Kind}}"} {
		if faults := (CommitSpec{Author: ann, MessageTemplate: tmpl}).Check(); len(faults) != 1 || faults[0].Field != "messageTemplate" {
			t.Errorf("Check of template %q = %v, want a fault", tmpl, faults)
		}
	}
	if faults := (CommitSpec{}).Check(); len(faults) != 1 || faults[0].Field != "author.email" {
		t.Errorf("Check without author = %v", faults)
	}
}
