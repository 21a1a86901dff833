package sops

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// sealed is the form of an encrypted value.
var sealed = regexp.MustCompile(`^ENC\[AES256_GCM,data:([^,]*),iv:([^,]+),tag:([^,]+),type:([a-z]+)\]`)

// The types of values that SOPS tells apart.
const (
	typeString  = "str"
	typeInt     = "int"
	typeFloat   = "float"
	typeBool    = "bool"
	typeBytes   = "bytes"
	typeTime    = "time"
	typeComment = "comment"
)

// unsealer opens the values of one file and keeps the sum for its MAC.
//
// Which values are encrypted is told by their form and not by the rules in the
// metadata. That is as safe: what is added, removed, changed or moved changes the
// sum, or does not open, because a value is bound to its path.
type unsealer struct {
	aead          map[int]cipher.AEAD // by the length of the nonce
	key           []byte
	sum           hash.Hash
	onlyEncrypted bool // the MAC goes over encrypted values alone
	values        []Value
}

// onlyEncryptedStart begins the sum of a MAC over encrypted values, so that it is
// never that over all values: the SHA-256 of "sops".
var onlyEncryptedStart = []byte("\x8a\x3f\xd2\xad\x54\xce\x66\x52\x7b\x10\x34\xf3\xd1\x47\xbe\x0b\x0b\x97\x5b\x3b\xf4\x4f\x72\xc6\xfd\xad\xec\x81\x76\xf2\x7d\x69")

func newUnsealer(key []byte, onlyEncrypted bool) *unsealer {
	u := &unsealer{aead: map[int]cipher.AEAD{}, key: key, sum: sha512.New(), onlyEncrypted: onlyEncrypted}
	if onlyEncrypted {
		u.sum.Write(onlyEncryptedStart)
	}
	return u
}

// unseal opens a value that stands at path.
func (u *unsealer) unseal(text, path string) (plain, kind string, err error) {
	m := sealed.FindStringSubmatch(text)
	if m == nil {
		return "", "", fmt.Errorf("the encrypted value at %s is malformed", path)
	}
	var parts [3][]byte
	for i := range parts {
		if parts[i], err = base64.StdEncoding.DecodeString(m[i+1]); err != nil {
			return "", "", fmt.Errorf("the encrypted value at %s is malformed", path)
		}
	}
	data, nonce, tag := parts[0], parts[1], parts[2]
	a := u.aead[len(nonce)]
	if a == nil {
		block, err := aes.NewCipher(u.key)
		if err != nil {
			return "", "", errors.New("the data key has a wrong length")
		}
		if a, err = cipher.NewGCMWithNonceSize(block, len(nonce)); err != nil {
			return "", "", fmt.Errorf("the encrypted value at %s is malformed", path)
		}
		u.aead[len(nonce)] = a
	}
	opened, err := a.Open(nil, nonce, append(data, tag...), []byte(path))
	if err != nil {
		return "", "", fmt.Errorf("%w; the value at %s cannot be opened", ErrChanged, path)
	}
	return string(opened), m[4], nil
}

// text opens a value where there are only words: in dotenv and INI.
func (u *unsealer) text(value, path string) (string, error) {
	if !strings.HasPrefix(value, begin) {
		u.add([]byte(value), false)
		return value, nil
	}
	plain, kind, err := u.unseal(value, path)
	if err != nil {
		return "", err
	}
	written, sum, err := written(plain, kind)
	if err != nil {
		return "", fmt.Errorf("the value at %s %w", path, err)
	}
	u.values = append(u.values, Value{path, written})
	u.add([]byte(sum), true)
	return written, nil
}

func (u *unsealer) add(b []byte, encrypted bool) {
	if encrypted || !u.onlyEncrypted {
		u.sum.Write(b)
	}
}

// node opens all values below n.
func (u *unsealer) node(n *yaml.Node, path string) error {
	switch n.Kind {
	case yaml.DocumentNode, yaml.SequenceNode: // an item has the path of its list
		for _, c := range n.Content {
			if err := u.node(c, path); err != nil {
				return err
			}
		}
		return nil
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if err := u.node(n.Content[i+1], path+n.Content[i].Value+":"); err != nil {
				return err
			}
		}
		return nil
	case yaml.AliasNode:
		return fmt.Errorf("line %d: an alias in an encrypted document, which sops does not write", n.Line)
	}
	return u.scalar(n, path)
}

func (u *unsealer) scalar(n *yaml.Node, path string) error {
	at := path
	if at == "" {
		at = ":"
	}
	if n.ShortTag() != "!!str" || !strings.HasPrefix(n.Value, begin) {
		sum, err := plainSum(n)
		if err != nil {
			return fmt.Errorf("the value at %s %w", at, err)
		}
		u.add([]byte(sum), false)
		return nil
	}
	plain, kind, err := u.unseal(n.Value, at)
	if err != nil {
		return err
	}
	if kind == typeComment { // of a list; it is no value
		n.Value, n.Tag, n.Style = "", "!!null", 0
		return nil
	}
	text, sum, err := written(plain, kind)
	if err != nil {
		return fmt.Errorf("the value at %s %w", at, err)
	}
	u.add([]byte(sum), true)
	u.values = append(u.values, Value{at, text})
	n.Value, n.Style, n.Tag = text, 0, "!!"+kind
	switch kind {
	case typeString, typeBytes:
		n.Tag, n.Style = "!!str", yaml.DoubleQuotedStyle // "yes" stays a word
	case typeTime:
		n.Tag = "!!timestamp"
	}
	return nil
}

// written is how a value of a type is written, and how it goes into the sum.
func written(plain, kind string) (text, sum string, err error) {
	switch kind {
	case typeString, typeBytes, typeComment:
		return plain, plain, nil
	case typeInt:
		v, err := strconv.Atoi(plain)
		if err == nil {
			return strconv.Itoa(v), strconv.Itoa(v), nil
		}
	case typeFloat:
		v, err := strconv.ParseFloat(plain, 64)
		if err == nil {
			f := strconv.FormatFloat(v, 'f', -1, 64)
			return f, f, nil
		}
	case typeBool:
		v, err := strconv.ParseBool(plain)
		if err == nil {
			return strconv.FormatBool(v), pythonBool(v), nil
		}
	case typeTime:
		v, err := time.Parse(time.RFC3339Nano, plain)
		if err == nil {
			t := v.Format(time.RFC3339Nano)
			return t, t, nil
		}
	}
	return "", "", fmt.Errorf("is not of the type %q that it says", kind)
}

// plainSum is how a value that is not encrypted goes into the sum.
func plainSum(n *yaml.Node) (string, error) {
	var v any
	if err := n.Decode(&v); err != nil {
		return "", errors.New("cannot be read")
	}
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case int:
		return strconv.Itoa(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case bool:
		return pythonBool(v), nil
	case time.Time:
		return v.Format(time.RFC3339Nano), nil
	}
	return "", fmt.Errorf("is of a type that sops does not know")
}

// pythonBool is the spelling of the first SOPS, which was written in Python.
func pythonBool(v bool) string {
	if v {
		return "True"
	}
	return "False"
}
