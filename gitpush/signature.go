package gitpush

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"hoist/bump"
)

// Signers are the keys that commits may be signed with.
type Signers struct {
	pgp openpgp.EntityList
	ssh []sshSigner
}

// sshSigner is a line of an allowed_signers file.
type sshSigner struct {
	principals    []string
	namespaces    []string // empty for any
	after, before time.Time
	key           ssh.PublicKey
}

// gitNamespace is what git signs SSH signatures for.
const gitNamespace = "git"

// AddKeyring takes in OpenPGP public keys, armored or not.
func (s *Signers) AddKeyring(keyring []byte) error {
	list, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(keyring))
	if err != nil {
		if list, err = openpgp.ReadKeyRing(bytes.NewReader(keyring)); err != nil {
			return fmt.Errorf("not an OpenPGP keyring: %w", err)
		}
	}
	s.pgp = append(s.pgp, list...)
	return nil
}

// AddAllowed takes in a file of the form of ssh-keygen's allowed_signers.
func (s *Signers) AddAllowed(file []byte) error {
	lines := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; lines.Scan(); n++ {
		text := strings.TrimSpace(lines.Text())
		if text == "" || text[0] == '#' {
			continue
		}
		signer, err := parseSigner(text)
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		s.ssh = append(s.ssh, signer)
	}
	return lines.Err()
}

// parseSigner reads "principals [options] keytype key [comment]".
func parseSigner(text string) (sshSigner, error) {
	names, rest, ok := strings.Cut(text, " ")
	if !ok {
		return sshSigner{}, errors.New("expected principals and a key")
	}
	key, _, options, _, err := ssh.ParseAuthorizedKey([]byte(rest))
	if err != nil {
		return sshSigner{}, fmt.Errorf("no key behind %q", names)
	}
	s := sshSigner{principals: strings.Split(strings.Trim(names, `"`), ","), key: key}
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		value = strings.Trim(value, `"`)
		switch strings.ToLower(name) {
		case "namespaces":
			s.namespaces = strings.Split(value, ",")
		case "valid-after":
			s.after, err = parseSignerTime(value)
		case "valid-before":
			s.before, err = parseSignerTime(value)
		default:
			err = fmt.Errorf("option %q is not supported", name)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// parseSignerTime reads YYYYMMDD, YYYYMMDDHHMM or YYYYMMDDHHMMSS, with Z for UTC.
func parseSignerTime(text string) (time.Time, error) {
	zone := time.Local
	digits, utc := strings.CutSuffix(text, "Z")
	if utc {
		zone = time.UTC
	}
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if t, err := time.ParseInLocation(layout, digits, zone); err == nil && len(layout) == len(digits) {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time", text)
}

// Empty tells whether there is no key at all.
func (s *Signers) Empty() bool { return s == nil || len(s.pgp) == 0 && len(s.ssh) == 0 }

// verify checks the signature of a commit and returns who signed.
func (s *Signers) verify(c *object.Commit) (signer string, err error) {
	signature := c.PGPSignature
	if strings.TrimSpace(signature) == "" {
		return "", errors.New("it is not signed")
	}
	var bare plumbing.MemoryObject
	if err := c.EncodeWithoutSignature(&bare); err != nil {
		return "", err
	}
	r, err := bare.Reader()
	if err != nil {
		return "", err
	}
	signed, err := io.ReadAll(r)
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(signature, "-----BEGIN SSH SIGNATURE") {
		return s.verifySSH(signed, signature, c.Committer)
	}
	config := &packet.Config{Time: func() time.Time { return c.Committer.When }} // a key that expired since was good then
	entity, err := openpgp.CheckArmoredDetachedSignature(s.pgp, bytes.NewReader(signed), strings.NewReader(signature), config)
	if err != nil {
		return "", fmt.Errorf("its OpenPGP signature is not good: %w", err)
	}
	for _, id := range entity.Identities {
		return oneLine(id.Name), nil
	}
	return fmt.Sprintf("%X", entity.PrimaryKey.Fingerprint), nil
}

func (s *Signers) verifySSH(signed []byte, armored string, committer object.Signature) (string, error) {
	sig, err := sshsig.Unarmor([]byte(armored))
	if err != nil {
		return "", fmt.Errorf("its SSH signature cannot be read: %w", err)
	}
	why := "no allowed signer has its key"
	for _, a := range s.ssh {
		if !bytes.Equal(a.key.Marshal(), sig.PublicKey.Marshal()) {
			continue
		}
		switch {
		case !slices.ContainsFunc(a.principals, func(p string) bool { ok, _ := path.Match(p, committer.Email); return ok }):
			why = fmt.Sprintf("its key is not allowed for %q", oneLine(committer.Email))
		case len(a.namespaces) > 0 && !slices.Contains(a.namespaces, gitNamespace):
			why = "its key is not allowed for the namespace git"
		case !a.after.IsZero() && committer.When.Before(a.after), !a.before.IsZero() && !committer.When.Before(a.before):
			why = "its key was not valid then"
		default:
			if err := sshsig.Verify(bytes.NewReader(signed), sig, a.key, sig.HashAlgorithm, gitNamespace); err != nil {
				return "", fmt.Errorf("its SSH signature is not good: %w", err)
			}
			return oneLine(committer.Email), nil
		}
	}
	return "", fmt.Errorf("its SSH signature is not good: %s", why)
}

// Written is a commit with trailers of ours, as an auditor looks at it.
type Written struct {
	Step
	Committer Author
	Signer    string // "" where it was not looked at, or not good
	BadSign   error  // why the signature is not good; nil where it is, or where no keys were given
}

// Written yields the commits of a branch that have our trailers, the newest
// first, each compared with its first parent. Signatures are checked where there
// are keys.
func (c *Clone) Written(ctx context.Context, from bump.Head, opts HistoryOptions, keys *Signers) iter.Seq2[Written, error] {
	return func(yield func(Written, error) bool) {
		for commit, err := range c.objects.walkNew(plumbing.NewHash(from.Hash), plumbing.NewHash(opts.Until)) {
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				yield(Written{}, err)
				return
			}
			if commit.Committer.When.Before(opts.Since) {
				return
			}
			if blocks, _, _ := parseTrailers(commit.Message); len(blocks) == 0 {
				continue
			}
			w, err := c.written(commit, keys)
			if !yield(w, err) || err != nil {
				return
			}
		}
	}
}

func (c *Clone) written(commit *object.Commit, keys *Signers) (w Written, err error) {
	hash := commit.Hash.String()
	if w.Step, err = c.objects.step(hash, c.objects.shallow()[commit.Hash]); err != nil {
		return w, err
	}
	w.Committer = authorOf(commit.Committer)
	if !keys.Empty() {
		w.Signer, w.BadSign = keys.verify(commit)
	}
	return w, nil
}
