package sops

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// line is a key with its value, or a line that is kept as it is.
type line struct {
	section    string
	key, value string
	kept       string // a comment, the head of a section
}

// lined is a file of lines: dotenv or INI.
type lined struct {
	lines []line
	meta  []line
	write func(*bytes.Buffer, line)
	path  func(line) string
}

// dotenvOf takes a dotenv file apart. A line break in a value is written \n.
func dotenvOf(b []byte) (file, error) {
	f := lined{path: func(l line) string { return l.key + ":" }, write: func(b *bytes.Buffer, l line) {
		b.WriteString(l.key + "=" + strings.ReplaceAll(l.value, "\n", `\n`) + "\n")
	}}
	for at, text := range strings.Split(string(b), "\n") {
		if text == "" {
			continue
		}
		if strings.HasPrefix(text, "#") {
			f.lines = append(f.lines, line{kept: text})
			continue
		}
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return nil, fmt.Errorf("line %d: neither KEY=VALUE nor a comment", at+1)
		}
		l := line{key: key, value: strings.ReplaceAll(value, `\n`, "\n")}
		if name, ours := strings.CutPrefix(key, "sops_"); ours {
			l.key = name
			f.meta = append(f.meta, l)
		} else {
			f.lines = append(f.lines, l)
		}
	}
	return f, nil
}

// iniOf takes an INI file apart.
func iniOf(b []byte) (file, error) {
	f := lined{path: func(l line) string { return l.section + ":" + l.key + ":" }, write: writeINI}
	section := "DEFAULT" // what comes before the first head
	for at, text := range strings.Split(string(b), "\n") {
		text = strings.TrimSpace(text)
		key, value, ok := strings.Cut(text, "=")
		switch {
		case text == "":
		case text[0] == '#' || text[0] == ';':
			if section != "sops" {
				f.lines = append(f.lines, line{kept: text})
			}
		case text[0] == '[' && strings.HasSuffix(text, "]"):
			if section = strings.TrimSpace(text[1 : len(text)-1]); section != "sops" {
				f.lines = append(f.lines, line{kept: "[" + section + "]"})
			}
		case !ok:
			return nil, fmt.Errorf("line %d: neither key = value, nor a section, nor a comment", at+1)
		default:
			l := line{section: section, key: strings.Trim(strings.TrimSpace(key), "`"), value: unquoted(strings.TrimSpace(value))}
			if section == "sops" {
				l.value = strings.ReplaceAll(l.value, `\n`, "\n")
				f.meta = append(f.meta, l)
			} else {
				f.lines = append(f.lines, l)
			}
		}
	}
	return f, nil
}

func unquoted(s string) string {
	for _, q := range []string{`"""`, "`", `"`, "'"} {
		if len(s) >= 2*len(q) && strings.HasPrefix(s, q) && strings.HasSuffix(s, q) {
			return s[len(q) : len(s)-len(q)]
		}
	}
	return s
}

func writeINI(b *bytes.Buffer, l line) {
	v := l.value
	switch {
	case strings.ContainsAny(v, "\n`"):
		v = `"""` + v + `"""`
	case strings.ContainsAny(v, "#;") || v != strings.TrimSpace(v):
		v = "`" + v + "`"
	}
	b.WriteString(l.key + " = " + v + "\n")
}

func (f lined) open(ctx context.Context, o Options) (*Plain, error) {
	m, err := unflatten(f.meta)
	if err != nil {
		return nil, err
	}
	u, err := m.unsealer(ctx, o.Keys)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, l := range f.lines {
		switch {
		case strings.Contains(l.kept, begin): // an encrypted comment
		case l.kept != "":
			b.WriteString(l.kept + "\n")
		default:
			if l.value, err = u.text(l.value, f.path(l)); err != nil {
				return nil, err
			}
			f.write(&b, l)
		}
	}
	if err := m.verify(u); err != nil {
		return nil, err
	}
	return &Plain{b.Bytes(), u.values}, nil
}
