package scanner

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hoist/bump"
)

func TestCheck(t *testing.T) {
	ref := &bump.LocalRef{Name: "s"}
	for _, c := range []struct {
		image Image
		want  string // field: message, joined by "; "
	}{
		{Image{Image: "ghcr.io/acme/web"}, ""},
		{Image{Image: "nginx", Interval: bump.Duration(time.Minute), SecretRef: ref}, ""},
		{Image{Image: "localhost:5000/web", Insecure: true}, ""},
		{Image{}, `image: an image is needed, such as registry.example.com/org/app`},
		{Image{Image: "https://ghcr.io/acme/web"}, `image: "https://ghcr.io/acme/web" starts with a scheme: write it without, as docker does`},
		{Image{Image: "nginx:1.25"}, `image: "nginx:1.25" carries a tag: write it without, "nginx"`},
		{Image{Image: "localhost:5000/web:1"}, `image: "localhost:5000/web:1" carries a tag: write it without, "localhost:5000/web"`},
		{Image{Image: "bot:hunter2@r.test/a/b"}, `image: holds a user: write the image without, and name its credentials with secretRef or secretDir`},
		{Image{Image: "a/b@sha256:00"}, `image: "a/b@sha256:00" carries a digest: write it without`},
		{Image{Image: "Acme/Web"}, `image: "Acme/Web" is not an image: use lower case letters, digits and . _ - /, such as registry.example.com/org/app`},
		{Image{Image: "a/b", Interval: bump.Duration(time.Millisecond)}, `interval: "1ms" is too short: the least is 1s`},
		{Image{Image: "a/b", Timeout: -1}, `timeout: "-1ns" is negative`},
		{Image{Image: "a/b", SecretRef: ref, SecretDir: "/s"}, `secretDir: stands beside secretRef: keep one of them`},
		{Image{Image: "a/b", SecretRef: &bump.LocalRef{}}, `secretRef.name: names no secret`},
		{Image{Image: "a/b", CertSecretRef: ref, CertSecretDir: "/s"}, `certSecretDir: stands beside certSecretRef: keep one of them`},
		{Image{Image: "a/b", Insecure: true, CertSecretRef: ref}, `certSecretRef: has no use with insecure: true, which speaks plain http`},
		{Image{Image: "a/b", ExclusionList: []string{"ok", "("}}, "exclusionList[1]: \"(\": error parsing regexp: missing closing ): `(`"},
		{Image{Image: "a/b", ExclusionList: []string{strings.Repeat("a", 1001)}}, "exclusionList[0]: the expression has 1001 bytes: at most 1000 are read"},
		{cosigned(Cosign{Key: signers()["P-256"].pem(t)}), ""},
		{cosigned(Cosign{SecretRef: ref}), ""},
		{cosigned(Cosign{SecretDir: "/keys"}), ""},
		{Image{Image: "a/b", Verify: &Verify{}}, `verify.cosign: is missing: it names the key of the signatures`},
		{cosigned(Cosign{}), `verify.cosign: names no key: give one of key, secretRef and secretDir`},
		{cosigned(Cosign{SecretRef: ref, SecretDir: "/keys"}), `verify.cosign: names keys in several ways: keep one of key, secretRef and secretDir`},
		{cosigned(Cosign{SecretRef: &bump.LocalRef{}}), `verify.cosign.secretRef.name: names no secret`},
		{cosigned(Cosign{Key: "hunter2"}), `verify.cosign.key: holds no public key in PEM form: expected -----BEGIN PUBLIC KEY-----`},
		{cosigned(Cosign{Keyless: map[string]string{"issuer": "x"}}), `verify.cosign.keyless: keyless signatures are not verified yet: give the key of the signatures by key, secretRef or secretDir`},
	} {
		var got []string
		for _, f := range c.image.Check() {
			got = append(got, fmt.Sprintf("%s: %s", f.Field, f.Message))
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("Check(%+v)\n got %s\nwant %s", c.image, s, c.want)
		}
	}
}

// cosigned is an image that needs signatures.
func cosigned(c Cosign) Image { return Image{Image: "a/b", Verify: &Verify{Cosign: &c}} }

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{
		"nginx":                            "index.docker.io/library/nginx",
		"docker.io/nginx:1.25":             "index.docker.io/library/nginx",
		"index.docker.io/library/nginx":    "index.docker.io/library/nginx",
		"registry-1.docker.io/library/x":   "index.docker.io/library/x",
		"localhost:5000/web":               "localhost:5000/web",
		"ghcr.io/acme/web:1.2":             "ghcr.io/acme/web",
		"ghcr.io/acme/web@sha256:" + zeros: "ghcr.io/acme/web",
		"Not An Image":                     "",
	} {
		if got := canonical(in); got != want {
			t.Errorf("canonical(%q) = %q, want %q", in, got, want)
		}
	}
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"
