package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	"hoist/daemon"
)

// printPlanMarkdown writes a plan for a comment on a pull request: the verdicts
// as a table, what would be committed folded below it.
func printPlanMarkdown(w io.Writer, p daemon.PlanView) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### Hoist plan `%s`\n", p.ID)
	for _, r := range p.Repositories {
		fmt.Fprintf(&b, "\n**%s** at `%s`", escape(r.Name), r.Head)
		if r.Error != "" {
			fmt.Fprintf(&b, "\n\n:x: %s\n", escape(r.Error))
			continue
		}
		fmt.Fprintf(&b, ": %s\n", counted(len(r.Commits), "commit"))
		markVerdicts(&b, r)
		for _, c := range r.Commits {
			subject, _, _ := strings.Cut(c.Message, "\n")
			fold(&b, subject, fenced("", c.Message)+"\n"+fenced("diff", c.Diff))
		}
		for _, warning := range r.Warnings {
			fmt.Fprintf(&b, "\n:warning: %s\n", escape(warning))
		}
	}
	for _, a := range p.Cluster {
		if a.Error != "" {
			fmt.Fprintf(&b, "\n**cluster**, app %s\n\n:x: %s\n", escape(a.App), escape(a.Error))
			continue
		}
		fmt.Fprintf(&b, "\n**cluster**, app %s: %s\n", escape(a.App), cmp.Or(escape(whatIsLeft(a)), sumOf(a.Objects)))
		for _, o := range a.Objects {
			fold(&b, o.Object+" "+o.Action+behind(": ", o.Reason), fenced("diff", o.Diff))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// markVerdicts writes a row for each verdict that says something; fields that
// are current are counted.
func markVerdicts(b *strings.Builder, r daemon.RepositoryPlan) {
	current := 0
	rows := 0
	for _, v := range r.Verdicts {
		if v.Outcome == "current" {
			current++
			continue
		}
		if rows++; rows == 1 {
			b.WriteString("\n| | field | now | new | policy | why |\n|---|---|---|---|---|---|\n")
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", v.Outcome, escape(fmt.Sprintf("%s:%d", v.File, v.Line)),
			escape(v.Now), escape(v.New), escape(v.Policy), escape(v.Reason))
	}
	if current > 0 {
		fmt.Fprintf(b, "\n%s current\n", counted(current, "field"))
	}
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func fold(b *strings.Builder, summary, body string) {
	fmt.Fprintf(b, "\n<details><summary>%s</summary>\n\n%s\n</details>\n", escapeHTML(summary), body)
}

// fenced puts text between fences that it does not hold itself.
func fenced(language, text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + language + "\n" + strings.TrimRight(text, "\n") + "\n" + fence + "\n"
}

// escape keeps text from being read as markdown or HTML: what stands in a
// repository must not format, link or mention in somebody's comment.
var escape = strings.NewReplacer(
	`\`, `\\`, "|", `\|`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "@", "@\u200b", "\n", " ", "\r", " ",
).Replace

var escapeHTML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "@", "@\u200b", "\n", " ").Replace
