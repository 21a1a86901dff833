package sops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"filippo.io/age"
	agearmor "filippo.io/age/armor"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// Keys are what opens files: age identities, OpenPGP keys, and the services that
// may be asked. They are safe for concurrent use; nil opens nothing.
type Keys struct {
	age      []age.Identity
	pgp      openpgp.EntityList
	have     []string
	services services
}

// The names of keys in a secret, which are Flux's.
const (
	extAge = ".agekey"
	extPGP = ".asc"
)

// ParseKeys reads the keys of a secret: NAME.agekey, NAME.asc, and the
// credentials of services. Errors name the key and repeat nothing of it.
func ParseKeys(secret map[string][]byte, allow Allow) (*Keys, error) {
	k := &Keys{}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(secret)) {
		var err error
		switch path.Ext(name) {
		case extAge:
			err = k.addAge(secret[name])
		case extPGP:
			err = k.addPGP(secret[name])
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("key %s: %w", name, err))
		}
	}
	var err error
	if k.services, err = newServices(secret, allow); err != nil {
		faults = append(faults, err)
	}
	return k, errors.Join(faults...)
}

func (k *Keys) addAge(b []byte) error {
	ids, err := age.ParseIdentities(bytes.NewReader(b))
	if err != nil {
		return errors.New("holds no age identity, a line that begins with AGE-SECRET-KEY-")
	}
	for _, id := range ids {
		switch id := id.(type) {
		case *age.X25519Identity:
			k.have = append(k.have, id.Recipient().String())
		case *age.HybridIdentity:
			k.have = append(k.have, id.Recipient().String())
		}
	}
	k.age = append(k.age, ids...)
	return nil
}

func (k *Keys) addPGP(b []byte) error {
	ring, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(b))
	if err != nil {
		if ring, err = openpgp.ReadKeyRing(bytes.NewReader(b)); err != nil {
			return errors.New("is no OpenPGP key: export it with gpg --export-secret-keys --armor")
		}
	}
	usable := false
	for _, e := range ring {
		k.have = append(k.have, fmt.Sprintf("pgp %X", e.PrimaryKey.Fingerprint))
		usable = usable || e.PrivateKey != nil && !e.PrivateKey.Encrypted
		for _, s := range e.Subkeys {
			usable = usable || s.PrivateKey != nil && !s.PrivateKey.Encrypted
		}
	}
	if !usable {
		return errors.New("holds no private key without a passphrase: remove the passphrase before the export")
	}
	k.pgp = append(k.pgp, ring...)
	return nil
}

// dataKey opens the key of a file.
func (k *Keys) dataKey(ctx context.Context, m *metadata) ([]byte, error) {
	if k == nil {
		k = &Keys{}
	}
	groups := m.groups()
	missing := &NoKeyError{Have: k.have}
	var parts [][]byte
	for _, g := range groups {
		part, faults := k.part(ctx, g)
		if part != nil {
			parts = append(parts, part)
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		missing.Recipients = append(missing.Recipients, g.recipients()...)
		missing.Faults = append(missing.Faults, faults...)
	}
	if len(groups) == 1 && len(parts) == 1 {
		return parts[0], nil
	}
	need := m.Threshold
	if need < 1 {
		need = len(groups)
	}
	if len(groups) == 1 || len(parts) < need {
		if len(groups) > 1 {
			missing.Faults = append(missing.Faults, fmt.Sprintf("keys of %d of its %d groups are needed, %d are there", need, len(groups), len(parts)))
		}
		return nil, missing
	}
	return combine(parts)
}

// part opens the data key, or the part of it, that a group holds.
func (k *Keys) part(ctx context.Context, g group) (key []byte, faults []string) {
	for _, a := range g.Age {
		if key := k.openAge(a); key != nil {
			return key, nil
		}
	}
	for _, p := range g.PGP {
		if key := k.openPGP(p); key != nil {
			return key, nil
		}
	}
	return k.services.part(ctx, g)
}

// maxDataKey bounds what is read of an opened data key, or a part of one.
const maxDataKey = 1 << 10

func (k *Keys) openAge(a ageKey) []byte {
	if len(k.age) == 0 {
		return nil
	}
	r, err := age.Decrypt(agearmor.NewReader(strings.NewReader(a.Enc)), k.age...)
	if err != nil {
		return nil
	}
	return readKey(r)
}

func (k *Keys) openPGP(p pgpKey) []byte {
	if len(k.pgp) == 0 {
		return nil
	}
	block, err := armor.Decode(strings.NewReader(p.Enc))
	if err != nil {
		return nil
	}
	m, err := openpgp.ReadMessage(block.Body, k.pgp, nil, nil)
	if err != nil {
		return nil
	}
	return readKey(m.UnverifiedBody)
}

func readKey(r io.Reader) []byte {
	b, err := io.ReadAll(io.LimitReader(r, maxDataKey))
	if err != nil {
		return nil
	}
	return b
}
