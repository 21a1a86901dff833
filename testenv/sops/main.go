// Command sops encrypts a file with the library of SOPS, upstream code: what
// people encrypt secrets with before they commit them. It reads a request as
// JSON from standard input and writes the encrypted file.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/age"
	"github.com/getsops/sops/v3/azkv"
	"github.com/getsops/sops/v3/cmd/sops/common"
	"github.com/getsops/sops/v3/cmd/sops/formats"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/gcpkms"
	"github.com/getsops/sops/v3/hcvault"
	"github.com/getsops/sops/v3/keys"
	"github.com/getsops/sops/v3/kms"
	"github.com/getsops/sops/v3/pgp"
	"github.com/getsops/sops/v3/shamir"
)

// request is hoist/testenv/sealer's Request.
type request struct {
	Format            string
	Text              []byte
	DataKey           []byte
	Groups            []group
	Threshold         int
	EncryptedRegex    string
	UnencryptedSuffix string
	CommentRegex      string
	MACOnlyEncrypted  bool
}

type group struct {
	Age []string
	PGP []struct {
		Fingerprint string
		Ring        []byte
	}
	AWS   []struct{ ARN, Enc string }
	GCP   []struct{ ResourceID, Enc string }
	Azure []struct{ URL, Name, Version, Enc string }
	Vault []struct{ Address, Engine, Key, Enc string }
}

func main() {
	if err := encrypt(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "sops: %v\n", err)
		os.Exit(1)
	}
}

func encrypt(in io.Reader, out io.Writer) error {
	var r request
	if err := json.NewDecoder(in).Decode(&r); err != nil {
		return err
	}
	store := common.StoreForFormat(formats.FormatFromString(r.Format), config.NewStoresConfig())
	branches, err := store.LoadPlainFile(r.Text)
	if err != nil {
		return err
	}
	tree := sops.Tree{Branches: branches, Metadata: sops.Metadata{
		ShamirThreshold: r.Threshold, EncryptedRegex: r.EncryptedRegex, UnencryptedSuffix: r.UnencryptedSuffix,
		EncryptedCommentRegex: r.CommentRegex, MACOnlyEncrypted: r.MACOnlyEncrypted, LastModified: time.Now().UTC(), Version: "3.13.3",
	}}
	key := r.DataKey
	if key == nil {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails
	}
	parts := [][]byte{key}
	if len(r.Groups) > 1 {
		if parts, err = shamir.Split(key, len(r.Groups), r.Threshold); err != nil {
			return err
		}
	}
	for i, g := range r.Groups {
		kg, err := masterKeys(g)
		if err != nil {
			return err
		}
		for _, k := range kg {
			if len(k.EncryptedDataKey()) > 0 {
				continue // by a service, which the test plays
			}
			if err := k.Encrypt(parts[i]); err != nil {
				return err
			}
		}
		tree.Metadata.KeyGroups = append(tree.Metadata.KeyGroups, kg)
	}
	sum, err := tree.Encrypt(key, aes.NewCipher())
	if err != nil {
		return err
	}
	at := tree.Metadata.LastModified.Format(time.RFC3339)
	if tree.Metadata.MessageAuthenticationCode, err = aes.NewCipher().Encrypt(sum, key, at); err != nil {
		return err
	}
	b, err := store.EmitEncryptedFile(tree)
	if err != nil {
		return err
	}
	_, err = out.Write(b)
	return err
}

func masterKeys(g group) (all []keys.MasterKey, err error) {
	now := time.Now().UTC()
	for _, r := range g.Age {
		k, err := age.MasterKeyFromRecipient(r)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	for _, p := range g.PGP {
		k := pgp.NewMasterKeyFromFingerprint(p.Fingerprint)
		if err := os.WriteFile("pubring.gpg", p.Ring, 0o600); err != nil {
			return nil, err
		}
		pgp.PubRing("pubring.gpg").ApplyToMasterKey(k)
		all = append(all, k)
	}
	for _, a := range g.AWS {
		all = append(all, &kms.MasterKey{Arn: a.ARN, EncryptedKey: a.Enc, CreationDate: now})
	}
	for _, c := range g.GCP {
		all = append(all, &gcpkms.MasterKey{ResourceID: c.ResourceID, EncryptedKey: c.Enc, CreationDate: now})
	}
	for _, a := range g.Azure {
		all = append(all, &azkv.MasterKey{VaultURL: a.URL, Name: a.Name, Version: a.Version, EncryptedKey: a.Enc, CreationDate: now})
	}
	for _, v := range g.Vault {
		all = append(all, &hcvault.MasterKey{VaultAddress: v.Address, EnginePath: v.Engine, KeyName: v.Key, EncryptedKey: v.Enc, CreationDate: now})
	}
	return all, nil
}
