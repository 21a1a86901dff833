package gitpush

import (
	"fmt"
	"strings"
	"time"

	"hoist/bump"
)

// Defaults of a repository.
const (
	DefaultInterval = time.Minute
	DefaultTimeout  = time.Minute
)

// Repository is a section of the configuration: one branch of a Git repository.
// The fields are those of Flux's GitRepository.
type Repository struct {
	Name      bump.Name      `json:"-"`
	URL       string         `json:"url"`                 // https, http, ssh, user@host:path, file
	Branch    string         `json:"branch"`              // without refs/heads/
	Interval  bump.Duration  `json:"interval,omitempty"`  // between fetches; DefaultInterval when zero
	Timeout   bump.Duration  `json:"timeout,omitempty"`   // of one request; DefaultTimeout when zero
	SecretRef *bump.LocalRef `json:"secretRef,omitempty"` // a Kubernetes Secret with the credentials
	SecretDir string         `json:"secretDir,omitempty"` // or a directory with the same keys as files
	Suspend   bool           `json:"suspend,omitempty"`   // not fetched and not pushed to
}

// Check returns everything that is wrong with r.
func (r Repository) Check() []bump.Fault {
	var faults []bump.Fault
	fault := func(field, format string, args ...any) {
		faults = append(faults, bump.Fault{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	if _, err := parseAddress(r.URL); err != nil {
		fault("url", "%v", err)
	}
	if err := checkBranch(r.Branch); err != nil {
		fault("branch", "%v", err)
	}
	if r.Interval < 0 {
		fault("interval", "%q is negative", time.Duration(r.Interval))
	}
	if r.Timeout < 0 {
		fault("timeout", "%q is negative", time.Duration(r.Timeout))
	}
	if r.SecretRef != nil && r.SecretDir != "" {
		fault("secretDir", "give secretRef or secretDir, not both")
	}
	if r.SecretRef != nil && r.SecretRef.Name == "" {
		fault("secretRef.name", "is missing")
	}
	return faults
}

// CommitSpec says how commits look.
type CommitSpec struct {
	Author                Author            `json:"author"`
	MessageTemplate       string            `json:"messageTemplate,omitempty"`       // text/template over Data; the default text when empty
	MessageTemplateValues map[string]string `json:"messageTemplateValues,omitempty"` // .Values of the template
}

// Author is who commits, as author and committer.
type Author struct {
	Name  string `json:"name,omitempty"` // DefaultAuthor when empty
	Email string `json:"email"`
}

// DefaultAuthor is the name of an author that has only an address.
const DefaultAuthor = "Hoist"

// Check returns everything that is wrong with c. A template that names a field
// which does not exist is a fault; one that stumbles over what it will be given
// is not, since it can be tried only then.
func (c CommitSpec) Check() []bump.Fault {
	var faults []bump.Fault
	if err := c.Author.check(); err != nil {
		faults = append(faults, bump.Fault{Field: err.field, Message: err.message})
	}
	if err := checkTemplate(c.MessageTemplate); err != nil {
		faults = append(faults, bump.Fault{Field: "messageTemplate", Message: err.Error()})
	}
	return faults
}

// authorError is what is wrong with an author, and where.
type authorError struct{ field, message string }

func (e *authorError) Error() string { return e.field + ": " + e.message }

// check refuses what would break the author line of a commit object.
func (a Author) check() *authorError {
	const breakers = "\n\r\x00<>"
	switch {
	case strings.ContainsAny(a.Name, breakers):
		return &authorError{"author.name", fmt.Sprintf("%q must not hold line breaks, NUL, < or >", a.Name)}
	case a.Email == "":
		return &authorError{"author.email", "is missing"}
	case strings.ContainsAny(a.Email, breakers+" "):
		return &authorError{"author.email", fmt.Sprintf("%q must not hold spaces, line breaks, NUL, < or >", a.Email)}
	}
	if !strings.Contains(a.Email, "@") {
		return &authorError{"author.email", fmt.Sprintf("%q is not an address", a.Email)}
	}
	return nil
}

// PushSpec says where commits go.
type PushSpec struct {
	Branch string `json:"branch,omitempty"` // the branch of the repository when empty
}

// Check returns everything that is wrong with p.
func (p PushSpec) Check() []bump.Fault {
	if p.Branch == "" {
		return nil
	}
	if err := checkBranch(p.Branch); err != nil {
		return []bump.Fault{{Field: "branch", Message: err.Error()}}
	}
	return nil
}

// checkBranch applies the rules of git check-ref-format to a short branch name.
func checkBranch(b string) error {
	if b == "" {
		return fmt.Errorf("is missing")
	}
	bad := strings.HasPrefix(b, "-") || strings.HasPrefix(b, "/") || strings.HasSuffix(b, "/") ||
		strings.HasSuffix(b, ".") || b == "@" || b == "HEAD" ||
		strings.Contains(b, "..") || strings.Contains(b, "//") || strings.Contains(b, "@{") ||
		strings.ContainsAny(b, " ~^:?*[\\\x7f") || strings.ContainsFunc(b, func(r rune) bool { return r < ' ' })
	for part := range strings.SplitSeq(b, "/") {
		bad = bad || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	if bad {
		return fmt.Errorf("%q is not a branch name", b)
	}
	if strings.HasPrefix(b, "refs/") {
		return fmt.Errorf("%q: give the short name, without refs/heads/", b)
	}
	return nil
}
