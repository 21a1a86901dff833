package scanner

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// readPage adds the tags of a page to r and returns how many it lists and the
// last of them. On an error r is as it was.
func readPage(r *roll, body []byte) (listed int, last string, err error) {
	kept, mixed, dropped := len(r.ends), r.mixed, r.dropped
	if listed, tail, ok := readPlain(r, body); ok {
		return listed, string(tail), nil
	}
	r.cut(kept, dropped)
	r.mixed = mixed
	tags, err := parsePage(body)
	for _, tag := range tags {
		add(r, tag)
		last = tag
	}
	return len(tags), last, err
}

// parsePage reads {"name": …, "tags": […]}. Registries write null for no tags;
// an answer without the word tags is no tag list.
func parsePage(body []byte) ([]string, error) {
	var list struct {
		Tags   *[]string `json:"tags"`
		Name   *string   `json:"name"`
		Errors []transport.Diagnostic
	}
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, errors.New("not a whole tag list: " + describeJSON(err, body))
	}
	if len(list.Errors) > 0 {
		return nil, errors.New(clean(list.Errors[0].String()))
	}
	if list.Tags == nil && list.Name == nil {
		return nil, errors.New("the answer is not a tag list")
	}
	if list.Tags == nil {
		return nil, nil
	}
	return *list.Tags, nil
}

func describeJSON(err error, body []byte) string {
	if trimmed := bytes.TrimSpace(body); len(trimmed) == 0 {
		return "the answer is empty"
	} else if trimmed[0] == '<' {
		return "the answer is a web page"
	}
	return clean(err.Error())
}

// readPlain reads a page of the form that nearly all registries send: an
// object of "name" and "tags" and nothing else, strings of printable ASCII
// without escapes. It does so without garbage and in a tenth of the time of
// encoding/json, which decides about every other form (ok is false).
func readPlain(r *roll, body []byte) (listed int, last []byte, ok bool) {
	p := plainReader{rest: body}
	if !p.sign('{') {
		return 0, nil, false
	}
	var named, tagged bool
	for {
		key, ok := p.text()
		if !ok || !p.sign(':') {
			return 0, nil, false
		}
		switch {
		case string(key) == "name" && !named:
			named = true
			_, ok = p.text()
		case string(key) == "tags" && !tagged:
			tagged = true
			listed, last, ok = p.tags(r)
		default:
			return 0, nil, false
		}
		if !ok {
			return 0, nil, false
		}
		if !p.sign(',') {
			break
		}
	}
	return listed, last, tagged && p.sign('}') && p.next() == 0 && len(p.rest) == 0
}

// plainReader takes apart the simplest of JSON.
type plainReader struct{ rest []byte }

// next returns the first byte that is not white space, 0 at the end.
func (p *plainReader) next() byte {
	for i, c := range p.rest {
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			p.rest = p.rest[i:]
			return c
		}
	}
	p.rest = nil
	return 0
}

// sign takes c, if it is what comes next.
func (p *plainReader) sign(c byte) bool {
	if p.next() != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// text takes a string.
func (p *plainReader) text() (s []byte, ok bool) {
	if !p.sign('"') {
		return nil, false
	}
	for i, c := range p.rest {
		switch {
		case c == '"':
			s, p.rest = p.rest[:i], p.rest[i+1:]
			return s, true
		case c < ' ' || c > '~' || c == '\\':
			return nil, false
		}
	}
	return nil, false
}

// tags takes a list of strings and adds them to r.
func (p *plainReader) tags(r *roll) (listed int, last []byte, ok bool) {
	if !p.sign('[') {
		return 0, nil, false
	}
	if p.sign(']') {
		return 0, nil, true
	}
	for {
		if last, ok = p.text(); !ok {
			return 0, nil, false
		}
		add(r, last)
		listed++
		if !p.sign(',') {
			return listed, last, p.sign(']')
		}
	}
}
