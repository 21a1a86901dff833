package setter

import (
	"strings"
	"testing"

	"hoist/bump"
)

// selection returns what a policy has chosen, from "image:tag[@digest]".
func selection(t testing.TB, policy, ref string) bump.Selection {
	t.Helper()
	name, err := bump.ParseName(policy)
	if err != nil {
		t.Fatal(err)
	}
	ref, digest, _ := strings.Cut(ref, "@")
	at := strings.LastIndex(ref, ":")
	return bump.Selection{Policy: name, Tags: bump.Tags{Image: ref[:at]}, Tag: ref[at+1:], Digest: digest}
}

func TestValue(t *testing.T) {
	const digest = "sha256:0123456789012345678901234567890123456789012345678901234567890123"
	with := selection(t, "a:b", "registry.example.com:5000/acme/web:1.2.3@"+digest)
	without := selection(t, "a:b", "nginx:1.27")
	for _, tc := range []struct {
		part bump.Part
		sel  bump.Selection
		want string
		err  string
	}{
		{bump.Whole, with, "registry.example.com:5000/acme/web:1.2.3@" + digest, ""},
		{bump.Whole, without, "nginx:1.27", ""},
		{bump.Repo, with, "registry.example.com:5000/acme/web", ""},
		{bump.Tag, with, "1.2.3", ""},
		{bump.Digest, with, digest, ""},
		{bump.Digest, without, "", "the digest is asked for, but policy a:b reflects none: ask for the tag or for the whole reference, or let the policy reflect digests"},
		{"size", with, "", `unknown part "size" of an image`},
		{bump.Whole, bump.Selection{Policy: with.Policy}, "", "policy a:b has selected nothing"},
		{bump.Tag, selection(t, "a:b", "nginx:1 # x"), "", `policy a:b selected "1 # x", which is not an image reference`},
	} {
		got, err := Value(bump.Site{Policy: with.Policy, Part: tc.part}, tc.sel)
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
			t.Errorf("Value(%q, %+v) = %q, %v, want %q, %q", tc.part, tc.sel, got, err, tc.want, tc.err)
		}
	}
}
