package setter

import (
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/kyaml/yaml"

	"hoist/bump"
)

// bumped returns a verdict that sets site to new.
func bumped(s bump.Site, new string) bump.Verdict {
	return bump.Verdict{Site: s, Outcome: bump.Bump, New: new}
}

// What Edit refuses leaves the file alone.
func TestY22Y23EditRefuses(t *testing.T) {
	const src = "image: x:1 " + mark + "\nother: y\n"
	site := find([]byte(src))[0]
	site.File = "web.yaml"
	moved := site
	moved.Start++
	other := site
	other.Value = "x:9"
	bad := site
	bad.Problem = "no such thing"
	for _, tc := range []struct {
		name, src string
		vs        []bump.Verdict
		want      string
	}{
		{"two values for a field", src, []bump.Verdict{bumped(site, "x:2"), bumped(site, "x:3")}, `web.yaml:1: two policies set this field, to "x:2" and to "x:3"`},
		{"Y22 injection", src, []bump.Verdict{bumped(site, "x:2 # gone\nkind: Evil")}, `web.yaml:1: "x:2 # gone\nkind: Evil" is not an image reference or a part of one`},
		{"Y22 alias", src, []bump.Verdict{bumped(site, "*x")}, `web.yaml:1: "*x" is not an image reference or a part of one`},
		{"empty value", src, []bump.Verdict{bumped(site, "")}, `web.yaml:1: "" is not an image reference or a part of one`},
		{"moved", src, []bump.Verdict{bumped(moved, "x:2")}, `web.yaml:1: field is not where it was found: the file has changed`},
		{"changed", src, []bump.Verdict{bumped(other, "x:2")}, `web.yaml:1: field holds "x:1" and not "x:9": the file has changed`},
		{"shorter", "a: b", []bump.Verdict{bumped(site, "x:2")}, `web.yaml:1: field is not where it was found: the file has changed`},
		{"now a key", "zz: b\nx:1: c\n", []bump.Verdict{bumped(site, "x:2")}, `web.yaml:1: marker stands behind a key: write it behind the value`},
		{"Y23 no longer YAML", src + "\t-", []bump.Verdict{bumped(site, "x:2")}, `web.yaml: file is not valid YAML: line 2: found a tab character that violates indentation`},
		{"problem", src, []bump.Verdict{bumped(bad, "x:2")}, `web.yaml:1: no such thing`},
	} {
		got, err := Edit([]byte(tc.src), tc.vs)
		if err == nil || err.Error() != tc.want || got != nil {
			t.Errorf("%s: Edit = %q, %v, want %s", tc.name, got, err, tc.want)
		}
	}
}

// Y21: held, current and equal verdicts are no edits.
func TestY21EditNothing(t *testing.T) {
	const src = "image: x:1 " + mark + "\n"
	site := find([]byte(src))[0]
	held := bumped(site, "x:2")
	held.Outcome = bump.Held
	for _, vs := range [][]bump.Verdict{nil, {held}, {bumped(site, "x:1")}} {
		if got, err := Edit([]byte(src), vs); err != nil || string(got) != src {
			t.Errorf("Edit(%v) = %q, %v, want the same bytes", vs, got, err)
		}
	}
	if got, err := Edit([]byte(src), []bump.Verdict{bumped(site, "x:2"), bumped(site, "x:2")}); err != nil || string(got) != strings.Replace(src, "x:1", "x:2", 1) {
		t.Errorf("the same edit twice: %q, %v", got, err)
	}
}

// Edits of several policies come one after the other, each with all so far.
func TestEditAccumulates(t *testing.T) {
	const src = "a: x:1 # {\"$imagepolicy\": \"n:a\"}\nb: 'y:1' # {\"$imagepolicy\": \"n:b\"}\n"
	sites := find([]byte(src))
	first, err := Edit([]byte(src), []bump.Verdict{bumped(sites[1], "y:22")})
	if err != nil {
		t.Fatal(err)
	}
	both, err := Edit([]byte(src), []bump.Verdict{bumped(sites[1], "y:22"), bumped(sites[0], "x:333")})
	if want := "a: x:333 # {\"$imagepolicy\": \"n:a\"}\nb: 'y:22' # {\"$imagepolicy\": \"n:b\"}\n"; err != nil || string(both) != want {
		t.Errorf("both = %q, %v, want %q", both, err, want)
	}
	if want := strings.Replace(src, "y:1", "y:22", 1); string(first) != want {
		t.Errorf("first = %q, want %q", first, want)
	}
}

// Y23: a result that differs in more than the marked field is refused. The
// damage is done here between splicing and proof.
func TestY23Prove(t *testing.T) {
	const src = "a: &a x:1 " + mark + "\nb: [1, 'two'] # c\n---\nc: z\n"
	site := find([]byte(src))[0]
	f, err := parse([]byte(src))
	if err != nil {
		t.Fatal(err)
	}
	e := edit{site: site, new: "x:2", full: "x:2"}
	if err := e.resolve(f); err != nil {
		t.Fatal(err)
	}
	good := string(splice([]byte(src), []edit{e}))
	if err := prove(f, []byte(good), []edit{e}); err != nil {
		t.Fatalf("prove(%q) = %v", good, err)
	}
	for _, damage := range [][2]string{
		{"x:2", "x:3"}, {"x:2", "\"x:2\""}, {"x:2", "x"}, {"&a", "&b"}, {"two", "tow"}, {"'two'", "\"two\""}, {"# c", "# d"},
		{"[1, ", "[1,  "}, {"---\n", ""}, {"c: z\n", "c: z"}, {"c: z\n", "c: z\n# end\n"}, {"b: [1", "\tb: [1"}, {"c: z", "c: {}"}, {"c: z", "c: !!str z"},
	} {
		bad := strings.Replace(good, damage[0], damage[1], 1)
		if err := prove(f, []byte(bad), []edit{e}); err == nil {
			t.Errorf("prove(%q) = nil, want an error", bad)
		}
	}
}

// A plain value is quoted where Flux's library would quote it, and where other
// readers of YAML 1.1 and 1.2 would not see a text.
func TestY15PlainSafe(t *testing.T) {
	for _, v := range strings.Fields(`
		1 0 12 1_000 0123 08 0o14 0x1f 0b11 1.10 1.0 1. 12e03 1e3 1.5e-3 1:30 190:20:30 1:30.5 2024-01-02 2024-1-2 2024-01-02T10:11:12
		y n yes no on off true false null Y No ON True TRUE NULL = . .5 .inf .nan -1 [::1]/x:1 x: 0_ 0777 20240102 1234567`) {
		if plainSafe("", v, "") {
			t.Errorf("plainSafe(%q) = true, want quotes", v)
		}
	}
	for _, v := range strings.Fields(`
		1.2.3 v1 v1.10 1.10-rc.1 1.4.2-alpine ghcr.io/acme/web:1.4.3 localhost:5000/x:1 nginx:1.27 latest main-abcdef1-1700000000 yes-1 nan inf
		sha256:0123 1a 0xg 2024-01-02-nightly 2024.01.02 20240102-1234 x:1@sha256:0123 e3 12e 1-2`) {
		if !plainSafe("", v, "") {
			t.Errorf("plainSafe(%q) = false, want it plain", v)
		}
		if yaml.IsValueNonString(v) {
			t.Errorf("kyaml quotes %q, so should we", v)
		}
	}
}
