package reconcile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// A builder and its worker talk in frames: the length of what follows the kind
// (4 bytes, big endian), the kind (1 byte), and the words.
//
//	worker                      builder
//	hello                ->
//	                     <-     build: the app
//	look, read, list     ->                        as often as
//	                     <-     answer             it wants
//	object, …, set       ->
//	or failed            ->
//
// The builder trusts no word of a worker: what a worker builds may come from
// anybody who can write to the repository.
type frame struct {
	kind  byte
	words []byte
}

const (
	frameHello  = 'h'
	frameBuild  = 'b' // an App
	frameLook   = 'l' // a path: what is there? The content of a small file comes with the answer.
	frameRead   = 'r' // a path of a file
	frameList   = 'd' // a path of a directory
	frameAnswer = 'a' // an answer, a line feed, and the content of a file
	frameObject = 'o' // file, line feed, JSON
	frameSet    = 's' // a setTail
	frameFailed = 'f' // a failure
)

// protocol is what both ends have to have in common.
const protocol = "hoist build worker 1"

const (
	maxFrame    = 64 << 20  // bytes of one frame
	maxFile     = 32 << 20  // bytes of one file
	maxObject   = 3 << 20   // bytes of one object: no API server takes more
	maxQuestion = 16 << 10  // bytes of a path
	maxUnasked  = 256 << 10 // bytes of a file that are sent before anybody asks for them
)

// maxObjects is how many bytes all objects of a set may have. In memory they are
// up to ten times as large, and that in the builder's process.
func maxObjects(memory int64) int { return int(memory / 16) }

func writeFrame(w io.Writer, kind byte, words ...[]byte) error {
	n := 0
	for _, p := range words {
		n += len(p)
	}
	if n > maxFrame {
		return fmt.Errorf("%d bytes are more than fit into a message", n)
	}
	head := [5]byte{4: kind}
	binary.BigEndian.PutUint32(head[:], uint32(n))
	_, err := w.Write(head[:])
	for _, p := range words {
		if err == nil {
			_, err = w.Write(p)
		}
	}
	return err
}

func writeJSON(w io.Writer, kind byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return writeFrame(w, kind, b)
}

var errTooLong = errors.New("a message is too long")

func readFrame(r io.Reader) (frame, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return frame{}, errTooLong
	}
	f := frame{head[4], make([]byte, n)}
	_, err := io.ReadFull(r, f.words)
	return f, err
}

// answer tells about a path of the tree.
type answer struct {
	Mode    fs.FileMode `json:"mode,omitempty"`    // its type
	Missing bool        `json:"missing,omitempty"` // there is nothing
	Error   string      `json:"error,omitempty"`   // why it cannot be told or read
	Whole   bool        `json:"whole,omitempty"`   // the content of the file follows
	Entries []listed    `json:"entries,omitempty"` // of a directory
}

// listed is an entry of a directory.
type listed struct {
	Name string      `json:"name"`
	Mode fs.FileMode `json:"mode,omitempty"`
}

// failure is how a build ended without a set.
type failure struct {
	Error string `json:"error"`
	Panic string `json:"panic,omitempty"` // the stack
}

// setTail is what a [Set] has beside its objects.
type setTail struct {
	Files    []string          `json:"files,omitempty"`
	Dirs     []string          `json:"dirs,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
	Raw      bool              `json:"raw,omitempty"`
	Texts    map[string]string `json:"texts,omitempty"`
}

// writeSet sends a set object by object, so that neither end holds it twice.
func writeSet(w io.Writer, s *Set, most int) error {
	sent := 0
	for _, m := range s.Objects {
		b, err := json.Marshal(m.Object.Object)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", m.where(), nameOf(m.Object), err)
		}
		if len(b) > maxObject {
			return fmt.Errorf("%s: %s is larger than %d MiB, more than any API server takes", m.where(), nameOf(m.Object), maxObject>>20)
		}
		if sent += len(b); sent > most {
			return fmt.Errorf("the objects are more than %s together: split the app, or raise --build-memory, of which they may have a sixteenth", bytesOf(int64(most)))
		}
		if err := writeFrame(w, frameObject, []byte(m.File), []byte{'\n'}, strconv.AppendInt(nil, int64(m.Line), 10), []byte{'\n'}, b); err != nil {
			return err
		}
	}
	return writeJSON(w, frameSet, setTail{s.Files, s.Dirs, s.Warnings, s.raw, s.texts})
}

// readManifest reads an object frame.
func readManifest(words []byte) (Manifest, error) {
	file, rest, _ := bytes.Cut(words, []byte{'\n'})
	at, body, _ := bytes.Cut(rest, []byte{'\n'})
	line, err := strconv.Atoi(string(at))
	if err != nil {
		return Manifest{}, err
	}
	var fields map[string]any
	if err := utiljson.Unmarshal(body, &fields); err != nil {
		return Manifest{}, err
	}
	if fields == nil {
		return Manifest{}, errors.New("an object is empty")
	}
	return Manifest{Object: &unstructured.Unstructured{Object: fields}, File: string(file), Line: line}, nil
}

// readSet adds the rest of a set to its objects.
func readSet(words []byte, objects []Manifest) (*Set, error) {
	var t setTail
	if err := json.Unmarshal(words, &t); err != nil {
		return nil, err
	}
	return &Set{Objects: objects, Files: t.Files, Dirs: t.Dirs, Warnings: t.Warnings, raw: t.Raw, texts: t.Texts}, nil
}
