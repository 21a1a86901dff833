// Package sops reads files that SOPS encrypted: YAML of one or many documents,
// JSON, dotenv, INI, and whole files of any kind. It stands before the rooms:
// [hoist/reconcile] shows the tree of an app through it.
//
//	bytes --take apart--> values, metadata --Keys--> data key --> values, MAC --> bytes
//
// Nothing is opened with a key that it was not given: no environment, no home
// directory, no agent, no other program, and no service that [Keys] do not allow.
// The MAC of every file is verified. No error repeats a value, and nothing is
// logged.
//
// It does not use the library of SOPS, which brings five cloud clients and a
// database driver into the program (38 MB), reads a configuration of its own when
// the program starts, and follows YAML aliases without end. The tests use the
// program of SOPS itself.
//
// The trap that bites first: the MAC goes over all values in the order of the
// file, also over those that are not encrypted; so a label that was changed in an
// editor breaks it, and that is meant.
package sops

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// MaxSize is how big an encrypted file may be, in bytes.
const MaxSize = 5 << 20

// Plain is what was in an encrypted file.
type Plain struct {
	Bytes  []byte
	Values []Value // what was encrypted in it, in the order of the file
}

// Value is a value that was encrypted.
type Value struct {
	Path string // keys with a colon behind each: "stringData:password:"
	Text string
}

// Options say what is to be opened how.
type Options struct {
	Keys *Keys
	// Skip says which documents of YAML or JSON stay as they are; none when nil.
	Skip func(document *yaml.Node) bool
}

// marks are in every encrypted file: the name of the metadata, and the MAC.
var marks = [][]byte{[]byte("sops"), []byte(begin)}

// begin is how every encrypted value begins.
const begin = "ENC[AES256_GCM,data:"

// MaybeEncrypted tells cheaply whether a file can be one that SOPS encrypted.
func MaybeEncrypted(b []byte) bool {
	return bytes.Contains(b, marks[0]) && bytes.Contains(b, marks[1])
}

// Encrypted tells whether SOPS encrypted a file, or one document of it.
func Encrypted(name string, b []byte) bool {
	if !MaybeEncrypted(b) || len(b) > MaxSize {
		return false
	}
	f, err := takeApart(name, b)
	return err == nil && f != nil
}

// Covers tells whether the MAC of a YAML file goes over values that are not
// encrypted, too, so that a change of one makes the file unreadable.
func Covers(b []byte) bool {
	if !MaybeEncrypted(b) || len(b) > MaxSize {
		return false
	}
	f, _ := yamlOf(b)
	docs, _ := f.(documents)
	return slices.ContainsFunc(docs, func(doc *yaml.Node) bool {
		meta := metadataIn(doc)
		if meta == nil {
			return false
		}
		only := field(meta, "mac_only_encrypted")
		return only == nil || !strings.EqualFold(only.Value, "true")
	})
}

// ErrChanged says that a file is not what SOPS wrote.
var ErrChanged = errors.New("was changed after it was encrypted (its MAC does not fit): edit it with sops, which writes a new MAC")

// Open returns what is in a file, or nil where SOPS did not encrypt it. name
// tells the format where the content does not. A file that nothing in Keys opens
// is a [NoKeyError]; the error names neither the file nor a value.
func Open(ctx context.Context, name string, b []byte, o Options) (p *Plain, err error) {
	if !MaybeEncrypted(b) {
		return nil, nil
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("has %d bytes and seems to be encrypted by SOPS: more than %d are not decrypted", len(b), MaxSize)
	}
	defer func() {
		if recover() != nil { // its words could hold a value
			p, err = nil, errors.New("the decryption broke down; please report what is special about the file")
		}
	}()
	f, err := takeApart(name, b)
	if f == nil || err != nil {
		return nil, err
	}
	return f.open(ctx, o)
}

// file is an encrypted file taken apart.
type file interface {
	open(context.Context, Options) (*Plain, error)
}

// takeApart returns the form of an encrypted file; nil for one that is not
// encrypted. The content decides, the name only where that leaves a choice.
func takeApart(name string, b []byte) (file, error) {
	text := bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	switch first := bytes.TrimLeft(text, " \t\r\n"); {
	case bytes.HasPrefix(first, []byte("{")):
		return jsonOf(text, path.Ext(name) == ".json")
	case hasLine(text, "[sops]"):
		return iniOf(text)
	case hasLine(text, "sops_mac="):
		return dotenvOf(text)
	}
	return yamlOf(text)
}

func hasLine(b []byte, prefix string) bool {
	return bytes.HasPrefix(b, []byte(prefix)) || bytes.Contains(b, []byte("\n"+prefix))
}

// NoKeyError says that no key opens a file.
type NoKeyError struct {
	Recipients []string // for whom it is encrypted: public halves and names
	Have       []string // public halves of the keys that there are
	Faults     []string // what services said, and which were not asked
}

func (e *NoKeyError) Error() string {
	s := "is encrypted for " + list(e.Recipients)
	if len(e.Have) == 0 {
		s += ", and there is no key"
	} else {
		s += ", and the keys that are there are " + list(e.Have)
	}
	for _, f := range e.Faults {
		s += "; " + f
	}
	return s
}

// maxNamed is how many keys one message names.
const maxNamed = 8

func list(names []string) string {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if more := len(names) - maxNamed; more > 0 {
		return strings.Join(names[:maxNamed], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
