package gitpush

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"

	"hoist/bump"
)

// address is where a repository lives, taken apart once.
type address struct {
	scheme string // "https", "http", "ssh", "file"
	user   string
	host   string // host, or host:port where the port was given
	path   string
}

// scpLike is user@host:path, the short form of ssh addresses.
var scpLike = regexp.MustCompile(`^(?:([A-Za-z0-9_.][A-Za-z0-9_.-]*)@)?([A-Za-z0-9._][A-Za-z0-9._-]*|\[[0-9a-fA-F:]+\]):([^\\]+)$`)

// parseAddress reads what people put into url. Its errors never repeat a password.
func parseAddress(s string) (address, error) {
	if s == "" {
		return address{}, errors.New("is missing")
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return address{}, errors.New("must not hold spaces or control characters")
	}
	if !strings.Contains(s, "://") {
		if m := scpLike.FindStringSubmatch(s); m != nil {
			return address{scheme: "ssh", user: m[1], host: m[2], path: m[3]}, nil
		}
		return address{}, fmt.Errorf("%q is not a Git URL; https://, http://, ssh://, user@host:path and file:// are", afterUser(s))
	}
	u, err := url.Parse(s)
	if err != nil {
		return address{}, errors.New("is not a URL") // url.Error repeats its input
	}
	a := address{scheme: strings.ToLower(u.Scheme), host: u.Host, path: u.Path}
	if _, has := u.User.Password(); has {
		return address{}, fmt.Errorf("holds a password; put username and password into a secret and name it in secretRef (%s)", a)
	}
	a.user = u.User.Username()
	switch a.scheme {
	case "https", "http", "ssh":
		if u.Hostname() == "" {
			return address{}, fmt.Errorf("%q names no host", a)
		}
	case "file":
		if u.Host != "" && u.Host != "localhost" {
			return address{}, fmt.Errorf("%q: a file URL has three slashes", a)
		}
		a.host = ""
	default:
		return address{}, fmt.Errorf("scheme %q is not one of https, http, ssh, file", u.Scheme)
	}
	if a.path == "" || a.path == "/" {
		return address{}, fmt.Errorf("%q names no repository", a)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return address{}, fmt.Errorf("%q must not have a query or fragment", a)
	}
	return a, nil
}

// String returns the address without its user part, for messages.
func (a address) String() string {
	u := url.URL{Scheme: a.scheme, Host: a.host, Path: a.path}
	if a.scheme == "ssh" && !strings.HasPrefix(a.path, "/") {
		return a.host + ":" + a.path
	}
	return u.String()
}

// dial returns host:port for SSH.
func (a address) dial() string {
	if _, _, err := net.SplitHostPort(a.host); err == nil {
		return a.host
	}
	return net.JoinHostPort(strings.Trim(a.host, "[]"), "22")
}

// afterUser cuts what stands before the last @.
func afterUser(s string) string { return s[strings.LastIndex(s, "@")+1:] }

// mirrorName turns a name into one directory name, the same for the same name
// and different for different ones.
func mirrorName(n bump.Name) string {
	return url.PathEscape(n.Namespace) + "," + url.PathEscape(n.Name) + ".git"
}
