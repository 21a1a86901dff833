package bump

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Fault is something wrong with a section of the configuration. The room that
// owns the section finds it; package config knows the file and line.
type Fault struct {
	Field   string // dotted path from the section's root: "policy.semver.range", "path", "healthChecks[0].kind"
	Message string // what is wrong with the value there, values in quotes
}

// Duration is a time.Duration written as in Kubernetes: "1m30s".
type Duration time.Duration

// UnmarshalText reads what [time.ParseDuration] reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 30s, 5m or 1h30m", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalText returns the spelling of [time.Duration.String].
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Or returns d, or def where d is zero.
func (d Duration) Or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// LocalRef names a Secret in the namespace of the entry that holds it.
type LocalRef struct {
	Name string `json:"name"`
}

// Secret is the keys of a Secret or the files of a mounted directory, with
// Flux's key names (username, password, identity, known_hosts, ca.crt, …).
// However it is printed, its values do not appear.
type Secret map[string][]byte

// Format writes how many keys there are, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "[secret of %d keys]", len(s)) }

// MarshalJSON refuses: a secret is never written anywhere.
func (s Secret) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a secret cannot be written as JSON")
}

// Hasher is implemented by what [io/fs.FileInfo] Sys returns in a tree that
// knows the content of a file or of a whole directory by a hash, as Git does.
// Two files or directories with the same hash hold the same bytes. Readers use
// it to skip what they have already read.
type Hasher interface {
	Hash() string
}

// Spell writes a duration without the units that are zero: "30m", "1h30m".
func Spell(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
