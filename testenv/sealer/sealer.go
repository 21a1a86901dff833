// Package sealer encrypts files as people do before they commit them, with the
// library of SOPS itself.
package sealer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"

	"filippo.io/age"
	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"

	"hoist/testenv/programs"
)

// Request says what is to be encrypted, and how.
type Request struct {
	Format            string // yaml, json, dotenv, ini, binary
	Text              []byte
	DataKey           []byte // 32 bytes, where a test plays a service that holds them; random when nil
	Groups            []Group
	Threshold         int // how many of several groups are needed
	EncryptedRegex    string
	UnencryptedSuffix string
	CommentRegex      string
	MACOnlyEncrypted  bool
}

// Group are keys of which one is enough. Services get the data key as Enc has it.
type Group struct {
	Age   []string
	PGP   []PGPRecipient
	AWS   []struct{ ARN, Enc string }
	GCP   []struct{ ResourceID, Enc string }
	Azure []struct{ URL, Name, Version, Enc string }
	Vault []struct{ Address, Engine, Key, Enc string }
}

// PGPRecipient is the public half of a key, its fingerprint and its key ring.
type PGPRecipient struct {
	Fingerprint string
	Ring        []byte // not armored
}

// Sealer encrypts.
type Sealer struct{ program string }

// New returns a sealer. progress is told about the building of the program, if it
// has to be built.
func New(ctx context.Context, progress io.Writer) (*Sealer, error) {
	program, err := programs.Path(ctx, programs.SOPS, progress)
	return &Sealer{program}, err
}

// Seal returns the encrypted file.
func (s *Sealer) Seal(ctx context.Context, r Request) ([]byte, error) {
	dir, err := os.MkdirTemp("", "sealer-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	in, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, s.program)
	cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "GNUPGHOME=" + dir, "PATH=/nonexistent"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("sops: %w\n%s", err, bytes.TrimSpace(said.Bytes()))
	}
	return out.Bytes(), nil
}

// AgeKey makes a key pair: the content of a file keys.agekey, and the recipient.
func AgeKey() (private []byte, recipient string, err error) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, "", err
	}
	r := id.Recipient().String()
	return fmt.Appendf(nil, "# public key: %s\n%s\n", r, id), r, nil
}

// PGPKey makes a key pair: the content of a file key.asc, and the recipient.
func PGPKey() (private []byte, r PGPRecipient, err error) {
	e, err := openpgp.NewEntity("Test", "", "test@example.com", nil)
	if err != nil {
		return nil, r, err
	}
	var public, secret bytes.Buffer
	if err := e.Serialize(&public); err != nil {
		return nil, r, err
	}
	w, err := armor.Encode(&secret, openpgp.PrivateKeyType, nil)
	if err != nil {
		return nil, r, err
	}
	if err := e.SerializePrivate(w, nil); err != nil {
		return nil, r, err
	}
	if err := w.Close(); err != nil {
		return nil, r, err
	}
	return secret.Bytes(), PGPRecipient{fmt.Sprintf("%X", e.PrimaryKey.Fingerprint), public.Bytes()}, nil
}
