package scanner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"hoist/bump"
)

// Verify says which signatures an image needs before one of its tags is taken.
type Verify struct {
	Cosign *Cosign `json:"cosign,omitempty"`
}

// Cosign is a signature by cosign with a key. The keys are given in one of
// three ways; where there are several, any of them will do. A public key is no
// secret and may stand in the file.
type Cosign struct {
	Key       string            `json:"key,omitempty"`       // PEM, one or several
	SecretRef *bump.LocalRef    `json:"secretRef,omitempty"` // keys: cosign.pub and every other *.pub, as Flux has it
	SecretDir string            `json:"secretDir,omitempty"` // the same keys as files
	Keyless   map[string]string `json:"keyless,omitempty"`   // refused: not yet
}

func (v *Verify) check(fault func(field, format string, args ...any)) {
	if v == nil {
		return
	}
	c := v.Cosign
	if c == nil {
		fault("verify.cosign", "is missing: it names the key of the signatures")
		return
	}
	if c.Keyless != nil {
		fault("verify.cosign.keyless", "keyless signatures are not verified yet: give the key of the signatures by key, secretRef or secretDir")
		return
	}
	ways := 0
	for _, given := range []bool{c.Key != "", c.SecretRef != nil, c.SecretDir != ""} {
		if given {
			ways++
		}
	}
	if ways == 0 {
		fault("verify.cosign", "names no key: give one of key, secretRef and secretDir")
	}
	if ways > 1 {
		fault("verify.cosign", "names keys in several ways: keep one of key, secretRef and secretDir")
	}
	if c.SecretRef != nil && c.SecretRef.Name == "" {
		fault("verify.cosign.secretRef.name", "names no secret")
	}
	if c.Key != "" {
		if _, err := parseKeys([]byte(c.Key)); err != nil {
			fault("verify.cosign.key", "holds %v", err)
		}
	}
}

// keysOf reads the keys that may have signed an image.
func keysOf(ctx context.Context, src Source) (keyring, error) {
	if key := src.Image.Verify.Cosign.Key; key != "" {
		keys, err := parseKeys([]byte(key))
		if err != nil {
			return nil, fmt.Errorf("verify.cosign.key holds %w", err)
		}
		return keys, nil
	}
	if src.Keys == nil {
		return nil, errors.New("verify.cosign names no key")
	}
	secret, err := src.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the secret with the keys: %w", err)
	}
	var all keyring
	for _, name := range slices.Sorted(maps.Keys(secret)) {
		if !strings.HasSuffix(name, ".pub") {
			continue
		}
		keys, err := parseKeys(secret[name])
		if err != nil {
			return nil, fmt.Errorf("%s in the secret with the keys holds %w", name, err)
		}
		all = append(all, keys...)
	}
	if len(all) == 0 {
		return nil, errors.New("the secret with the keys has no cosign.pub and no other key that ends in .pub")
	}
	return all, nil
}
