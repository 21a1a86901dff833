package webhook

import (
	"strings"
	"testing"
)

// FuzzBody reads any body with both parsers. Whatever they find is an image
// repository or the name of a Git repository, without credentials, blanks or
// control characters; an image is found once; nothing panics.
func FuzzBody(f *testing.F) {
	f.Add([]byte(`{"image":"r.example:5000/app:1","repository":"https://u:p@git.example/x.git"}`))
	f.Add([]byte(``))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"image":"a@sha256:00"}`))
	f.Add([]byte(envelope(push("r.example", "app"), push("r.example", "app"))))
	f.Add([]byte(`{"events":[{"action":"push","target":{"mediaType":"application/vnd.oci.image.index.v1+json","repository":"a","url":"http://h/"}}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		generic, err := parseGeneric(body)
		if err != nil && generic != nil {
			t.Errorf("parseGeneric(%q) = %v and %v", body, generic, err)
		}
		events, err := parseEnvelope(body)
		if err != nil && events != nil {
			t.Errorf("parseEnvelope(%q) = %v and %v", body, events, err)
		}
		seen := make(map[string]bool)
		for _, s := range events {
			if seen[s.image] || s.repository != "" {
				t.Errorf("parseEnvelope(%q) = %v", body, events)
			}
			seen[s.image] = true
		}
		for _, s := range append(generic, events...) {
			if (s.image == "") == (s.repository == "") {
				t.Fatalf("%q speaks of %+v", body, s)
			}
			if s.image != "" {
				if again, err := repositoryOf(s.image); err != nil || again != s.image || imageKey(s.image) == "" {
					t.Errorf("%q gives image %q, which is none: %v", body, s.image, err)
				}
				continue
			}
			if key := gitKey(s.repository); key == "" || gitKey(key) != key {
				t.Errorf("%q gives repository %q with key %q", body, s.repository, key)
			}
			if scheme, rest, ok := strings.Cut(s.repository, "://"); ok {
				host, _, _ := strings.Cut(rest, "/")
				if strings.Contains(host, "@") {
					t.Errorf("%q gives repository %q of scheme %s with a user part", body, s.repository, scheme)
				}
			}
		}
	})
}
