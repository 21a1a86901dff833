package reconcile

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"go.uber.org/zap"
)

// plaintext tells of Secrets whose values everybody can read in Git.
func (u *unsealedFS) plaintext(set *Set) error {
	if u.app.PlaintextSecrets == PlaintextAllow {
		return nil
	}
	var faults []error
	for _, m := range set.Objects {
		key := u.plainKey(m)
		if key == "" {
			continue
		}
		text := fmt.Sprintf("%s: %s: %s stands in Git for everybody to read: encrypt it with SOPS, or set plaintextSecrets: allow", m.where(), nameOf(m.Object), key)
		if u.app.PlaintextSecrets == PlaintextRefuse {
			faults = append(faults, errors.New(text))
		} else {
			set.Plaintext = append(set.Plaintext, text)
		}
	}
	if faults != nil {
		return fmt.Errorf("build %s: %w", dirOf(u.app.Path), errors.Join(faults...))
	}
	return nil
}

// plainKey names the first value of a Secret that came from no encrypted file, and
// from no variable; "" when there is none.
func (u *unsealedFS) plainKey(m Manifest) string {
	if !isSecret(m.Object) || u.opened[m.File] != nil {
		return ""
	}
	for _, section := range []string{"data", "stringData"} {
		values, _ := m.Object.Object[section].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(values)) {
			text, _ := values[key].(string)
			if b, err := base64.StdEncoding.DecodeString(text); section == "data" && err == nil {
				text = string(b)
			}
			if strings.TrimSpace(text) != "" && !strings.Contains(text, "${") && (u.inGit(m.File, text) || !u.wasSealed(text)) {
				return section + "." + key
			}
		}
	}
	return ""
}

// inGit tells whether a value stands in a manifest as it is in Git.
func (u *unsealedFS) inGit(file, text string) bool {
	if len(text) < leastHidden || isKustomization(path.Base(file)) {
		return false
	}
	b, err := fs.ReadFile(u.FS, file)
	return err == nil &&
		(bytes.Contains(b, []byte(text)) || bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString([]byte(text)))))
}

// wasSealed tells whether a value is, or holds, something that was in an encrypted
// file.
func (u *unsealedFS) wasSealed(text string) bool {
	for _, p := range u.opened {
		if string(p.Bytes) == text {
			return true
		}
		for _, v := range p.Values {
			if v.Text == text || len(v.Text) >= leastHidden && strings.Contains(text, v.Text) {
				return true
			}
		}
	}
	return false
}

// tellPlaintext logs what a set says of Secrets in Git, each once.
func (p *past) tellPlaintext(log *zap.Logger, set *Set) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range set.Plaintext {
		if !p.plain[text] {
			p.plain[text] = true
			log.Warn("secret in plain text", zap.String("reason", text))
		}
	}
}
