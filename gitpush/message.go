package gitpush

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"

	sprig "github.com/go-task/slim-sprig/v3"

	"hoist/bump"
)

// Bounds of a message.
const (
	maxMessage = 32 << 10 // bytes of what a template renders
	maxListed  = 50       // fields in the default text
	maxReason  = 500      // bytes of a person's reason in the trailers
)

// Message renders tmpl over d and appends the trailers. An empty tmpl gives the
// default text. The message can always be used: when tmpl does not render, or
// renders to nothing, it is the default text, and the error is the warning that
// says why.
//
// Whatever a template or a label brings, the trailers are ours: lines that look
// like them are marked with "> ".
func Message(tmpl string, d Data) (string, error) {
	text, err := render(tmpl, d)
	if err != nil {
		err = fmt.Errorf("messageTemplate: %w; the default message is used", err)
	}
	if text == "" {
		text = tame(defaultText(d))
	}
	return text + "\n\n" + Trailers(d.verdicts, d.trigger), err
}

// render returns the tamed text, or an empty one.
func render(tmpl string, d Data) (string, error) {
	if tmpl == "" {
		return "", nil
	}
	t, err := parseTemplate(tmpl)
	if err != nil {
		return "", err
	}
	var b limited
	if err := t.Execute(&b, d); err != nil {
		return "", plainTemplateError(err)
	}
	text := tame(b.String())
	if text == "" {
		return "", errors.New("it renders to nothing")
	}
	return text, nil
}

func parseTemplate(tmpl string) (*template.Template, error) {
	t, err := template.New("messageTemplate").Funcs(sprig.HermeticTxtFuncMap()).Option("missingkey=zero").Parse(tmpl)
	if err != nil {
		return nil, plainTemplateError(err)
	}
	return t, nil
}

// plainTemplateError takes the words from the errors of text/template that say
// where we are, which callers know.
func plainTemplateError(err error) error {
	text := strings.TrimPrefix(err.Error(), "template: messageTemplate:")
	text = strings.Replace(text, `executing "messageTemplate" at `, "at ", 1)
	return errors.New(oneLine("line " + text))
}

// checkTemplate finds templates that cannot be parsed or name fields that there
// are not, by rendering an example.
func checkTemplate(tmpl string) error {
	t, err := parseTemplate(tmpl)
	if err != nil {
		return err
	}
	var b limited
	err = t.Execute(&b, exampleData())
	if err != nil && strings.Contains(err.Error(), "can't evaluate field") {
		return plainTemplateError(err)
	}
	return nil
}

func exampleData() Data {
	policy := bump.Name{Namespace: "hoist", Name: "web"}
	return NewData(bump.Name{Namespace: "hoist", Name: "apps"}, []bump.Verdict{{
		Site: bump.Site{File: "web.yaml", Line: 1, Policy: policy, Value: "example.com/web:1.0.0", Field: "spec.image",
			Object: bump.Object{APIVersion: "v1", Kind: "Pod", Name: "web"}},
		Selection: bump.Selection{Policy: policy, Tags: bump.Tags{Image: "example.com/web"}, Tag: "1.0.1"},
		Outcome:   bump.Bump,
		New:       "example.com/web:1.0.1",
	}}, map[string]string{}, "poll")
}

// defaultText is "Update web to 1.4.3" and the list of fields.
func defaultText(d Data) string {
	var b strings.Builder
	switch policies := d.Policies; {
	case len(d.verdicts) == 0:
		return "Update images"
	case len(policies) == 1:
		sel := d.verdicts[0].Selection
		fmt.Fprintf(&b, "Update %s to %s\n", oneLine(policies[0].Name), oneLine(sel.Tag))
	case len(policies) <= 3:
		names := make([]string, len(policies))
		for i, p := range policies {
			names[i] = oneLine(p.Name)
		}
		fmt.Fprintf(&b, "Update %s\n", strings.Join(names, ", "))
	default:
		fmt.Fprintf(&b, "Update %d images\n", len(policies))
	}
	return b.String() + "\n" + listed(d.verdicts)
}

// listed is a line for each field.
func listed(vs []bump.Verdict) string {
	var b strings.Builder
	for i, v := range vs {
		if i == maxListed {
			fmt.Fprintf(&b, "\nand %d more", len(vs)-i)
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s: %s -> %s", oneLine(v.Site.Position()), oneLine(v.Site.Value), oneLine(v.New))
	}
	return b.String()
}

var (
	likeTrailer = regexp.MustCompile(`(?i)^\s*bump-[a-z0-9-]*\s*:`)
	likeDivider = regexp.MustCompile(`^---(\s|$)`)
	likeScissor = regexp.MustCompile(`^\W+ -+ >8 -+`)
)

// tame makes rendered text safe to stand above our trailers: no control
// characters, nothing that Git's tools would take for the end of the message
// (a divider or scissors line) or that looks like one of our trailers.
func tame(s string) string {
	// Trimmed before the lines are looked at, since that can bring a line to the top
	// or the start of a line to light.
	lines := strings.Split(strings.TrimSpace(clean(s)), "\n")
	for i, l := range lines {
		l = strings.TrimRight(l, " \t")
		if likeTrailer.MatchString(l) || likeDivider.MatchString(l) || likeScissor.MatchString(l) {
			l = "> " + strings.TrimLeft(l, " \t")
		}
		lines[i] = l
	}
	return strings.Join(lines, "\n")
}

// limited takes up to maxMessage bytes.
type limited struct{ strings.Builder }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxMessage {
		return 0, fmt.Errorf("the message is longer than %d bytes", maxMessage)
	}
	return l.Builder.Write(p)
}
