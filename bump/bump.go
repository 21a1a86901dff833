// Package bump holds the nouns that every room of Hoist shares. An image bump
// walks through the house as a value, and each value keeps the one it came from:
//
//	Tags       what a registry holds                              (scanner)
//	Selection  the newest allowed tag                             (policy)
//	Site       a marked field: file, line, value now              (setter)
//	Verdict    what to do with a site, and why                    (plan)
//	Change     one file, before and after                         (setter)
//	Commit     the changes on the remote                          (gitpush)
//	Result     what the cluster did with them                     (reconcile)
//
// Nothing here touches the world, and nothing is edited after it was made, so
// every value may be read from several goroutines. The package imports nothing
// of ours.
package bump

import (
	"fmt"
	"strings"
	"time"
)

// Name is how policies, repositories, updates and apps are known: a namespace
// and a name, as in Kubernetes and in a marker ("ns:name").
type Name struct {
	Namespace, Name string
}

// DefaultNamespace is the namespace of native configuration entries that name none.
const DefaultNamespace = "hoist"

// String returns "namespace:name", the spelling of markers.
func (n Name) String() string { return n.Namespace + ":" + n.Name }

// ParseName reads "namespace:name". Neither half may be empty.
func ParseName(s string) (Name, error) {
	ns, name, ok := strings.Cut(s, ":")
	if !ok || ns == "" || name == "" || strings.Contains(name, ":") {
		return Name{}, fmt.Errorf("%q is not of the form namespace:name", s)
	}
	return Name{ns, name}, nil
}

// Tags is what a registry held when it was asked: a complete list, never a part of one.
type Tags struct {
	Image   string    // the repository, spelt as the user did, without tag
	List    []string  // each tag once, in byte order
	Scanned time.Time // when the list was complete
	Trigger string    // what asked for the scan: "poll", "webhook", "start", "once"
}

// Artifact is what a registry held under a tag when the tag was looked up.
type Artifact struct {
	Tag       string
	Digest    string    // "sha256:…" of the manifest or index that the tag pointed to
	Type      string    // media type that says what it is: an image's configuration, a chart's, a signature's
	Image     bool      // containers can be started from it
	Platforms []string  // "linux/amd64", "linux/arm/v7", in byte order; nil where nobody asked
	Created   time.Time // as the image's configuration says; zero where nobody asked or nothing is said
	Seen      time.Time // when we first saw Tag with this Digest
}

// PassedOver is a tag that goes before the selected one in the order of its
// policy and failed a check.
type PassedOver struct {
	Tag    string
	Reason string    // for a person: "no linux/arm64", "younger than 30m, eligible 14:32"
	Until  time.Time // when it passes by itself; zero where that takes a change in the registry
}

// Selection is a policy's answer to Tags. Either Tag is set or Err says why no
// tag could be chosen.
type Selection struct {
	Policy Name
	Tags   Tags
	Tag    string
	Digest string // "sha256:…" when the policy reflects digests, else empty
	// KeepDigest says that a field which has this tag and any digest stays as it
	// is (Flux's IfNotPresent).
	KeepDigest bool
	// Proven says that the tag was looked up: it exists, and what it points to
	// passed every check of the policy. Only a proven tag is written.
	Proven     bool
	PassedOver []PassedOver // the newest first
	Again      time.Time    // when to choose again although no list changed; zero for never
	Err        error
}

// Image returns the repository, spelt as the user did.
func (s Selection) Image() string { return s.Tags.Image }

// Reference returns image:tag, with @digest behind it when there is one.
func (s Selection) Reference() string {
	ref := s.Tags.Image + ":" + s.Tag
	if s.Digest != "" {
		ref += "@" + s.Digest
	}
	return ref
}

// Object names a Kubernetes object. Namespace is empty for cluster-scoped
// objects and where a file does not say.
type Object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
}

// String returns Kind/namespace/name, without the namespace where there is none.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + "/" + o.Name
	}
	return o.Kind + "/" + o.Namespace + "/" + o.Name
}

// Part says which part of an image reference a marked field holds.
type Part string

// The parts that a marker can ask for.
const (
	Whole  Part = ""       // image:tag, with @digest when the selection has one
	Repo   Part = "name"   // the repository alone
	Tag    Part = "tag"    // the tag alone
	Digest Part = "digest" // the digest alone
)

// Site is a marked field in a file.
type Site struct {
	File   string // slash-separated path from the root of the tree
	Line   int    // of the value, counted from 1
	Object Object // the object that holds the field, as far as the file says
	Field  string // path of the field in its document: "spec.template.spec.containers[0].image"
	Named  string // Field with the items of lists by their names: "spec.template.spec.containers[web].image"
	Policy Name
	Part   Part
	Value  string // the scalar's value now, unquoted
	// Match is the pattern of which Value is the group, where only a part of the
	// scalar is set. Before and After are the rest of it: Before+Value+After is the
	// whole. They never change.
	Match, Before, After string
	Start                int // byte offset of the whole scalar in the file, quotes included
	End                  int // byte offset behind it
	// Note is what a person should know before the field changes: that it is
	// anchored and how often it is used. Empty for most.
	Note string
	// Problem says why this marker cannot be followed; empty when it can. A site
	// with a problem may lack everything but File and Line.
	Problem string
}

// Position returns "file:line", or the file alone where no line is meant.
func (s Site) Position() string {
	if s.Line == 0 {
		return s.File
	}
	return fmt.Sprintf("%s:%d", s.File, s.Line)
}

// Outcome is what is to be done with a site.
type Outcome string

// The outcomes.
const (
	Bump    Outcome = "bump"    // the field gets the new value
	Current Outcome = "current" // the field already holds the selected value
	Held    Outcome = "held"    // a newer or another value is there on purpose; Reason says why it stays
	Problem Outcome = "problem" // a person has to look; Reason says at what
)

// Verdict is the decision about one site.
type Verdict struct {
	Site      Site
	Selection Selection
	Outcome   Outcome
	New       string // the value the field gets; set for Bump only
	Reason    string // for a person; empty only for Current and a plain newer version
	LookUp    bool   // Held, and only until the selected tag has been looked up
}

// Change is one file, before and after. After already holds the edits of the
// changes to the same file that precede this one in a pass.
type Change struct {
	File     string
	Before   []byte
	After    []byte
	Verdicts []Verdict // the edits that this change adds, in the order of the file
}

// Head is a branch of a repository at one commit.
type Head struct {
	Repository Name
	Branch     string
	Hash       string // hexadecimal SHA-1
}

// String returns "branch@sha1:hash", the revision's spelling in Flux.
func (h Head) String() string { return h.Branch + "@sha1:" + h.Hash }

// Short returns the first seven digits of a commit hash.
func Short(hash string) string {
	if len(hash) > 7 {
		return hash[:7]
	}
	return hash
}

// Commit is a set of changes on the remote branch, read back after the push.
type Commit struct {
	Head    Head
	Parent  string
	Time    time.Time
	Subject string
	Message string // whole, with trailers
	Changes []Change
}

// Action is what an apply did to one object.
type Action string

// The actions, in the words of kubectl.
const (
	Created    Action = "created"
	Configured Action = "configured"
	Unchanged  Action = "unchanged"
	Deleted    Action = "deleted"
	Skipped    Action = "skipped"
	Failed     Action = "failed"
)

// ObjectResult is what happened to one object.
type ObjectResult struct {
	Object Object
	Action Action
	File   string // where the object came from, if known
	Reason string // for Skipped and Failed
}

// Result is what the cluster did with a revision of an app.
type Result struct {
	App      Name
	Head     Head // the revision that was applied
	Objects  []ObjectResult
	Applied  time.Time // when the last object was written
	Ready    bool      // every object asked about is healthy
	Reason   string    // why not Ready, or what was refused; empty when all is well
	Finished time.Time
}

// Counts returns how many objects met each action.
func (r Result) Counts() map[Action]int {
	n := make(map[Action]int)
	for _, o := range r.Objects {
		n[o.Action]++
	}
	return n
}
