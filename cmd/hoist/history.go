package main

import (
	"encoding/csv"
	"fmt"
	"io"
	"iter"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hoist/bump"
	"hoist/daemon"
	"hoist/gitpush"
)

// newHistory returns the verb that tells what was bumped, from Git alone.
func newHistory() *cobra.Command {
	var f historyFlags
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List the bumps in a clone's history",
		Long: `List the bumps in the history of a clone, the newest first.

Everything comes from the trailers of the commits (Bump-Image, Bump-From, …), so
this works in any clone, without the daemon and without a configuration. Nothing
is written and nobody is asked: what was not fetched is not listed.

With --verify it lists instead the commits that are not what their trailers say:
a field that did not change from this to that, a change that no trailer names, a
signature that is not good, a committer who is not allowed.`,
		Example: `  hoist history --since 7d
  hoist history -C ~/src/fleet --branch main --policy api-service -o csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, time.Now()) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.dir, "directory", "C", ".", "look in the clone at `dir`")
	flags.StringVar(&f.branch, "branch", "", "`name` of the branch (default: what is checked out)")
	flags.StringVar(&f.policy, "policy", "", "only bumps by policies that match the `pattern`: namespace:name, or a name in any namespace")
	flags.StringVar(&f.file, "file", "", "only bumps of fields in files that match the `pattern`")
	flags.StringVar(&f.image, "image", "", "only bumps of images that match the `pattern`")
	flags.StringVar(&f.since, "since", "", "only bumps since this `time`: 2026-01-31, 2026-01-31T12:00:00Z, or ago: 36h, 7d")
	flags.StringVarP(&f.output, "output", "o", "table", "`format`: table, json, yaml or csv")
	flags.BoolVar(&f.check, "verify", false, "check that no trailer is forged and every signature good; exit 1 if not")
	flags.StringVar(&f.verify.keyring, "keyring", "", "with --verify: `file` of OpenPGP public keys")
	flags.StringVar(&f.verify.allowedSigners, "allowed-signers", "", "with --verify: `file` of SSH keys, in the form of ssh-keygen's allowed_signers")
	flags.StringSliceVar(&f.verify.committers, "committer", nil, "with --verify: `pattern` of addresses that may commit (may repeat; default: all)")
	return cmd
}

// historyFlags is the command line of history.
type historyFlags struct {
	dir, branch, policy, image, file, since, output string

	check  bool
	verify verifyFlags
}

func (f *historyFlags) run(cmd *cobra.Command, now time.Time) error {
	show, ok := historyFormats[f.output]
	if !ok {
		return &exitError{code: 2, err: fmt.Errorf("--output %q: expected table, json, yaml or csv", f.output)}
	}
	since, err := parseSince(f.since, now)
	if err != nil {
		return &exitError{code: 2, err: err}
	}
	clone, err := gitpush.OpenClone(f.dir)
	if err != nil {
		return err
	}
	head, err := clone.Head(f.branch)
	if err != nil {
		return fmt.Errorf("history of %s: %w", f.dir, err)
	}
	if clone.Shallow() {
		fmt.Fprintf(cmd.ErrOrStderr(), "hoist: warning: %s is a shallow clone, older bumps are not in it; git fetch --unshallow brings them\n", f.dir)
	}
	if f.check {
		return f.verifyAll(cmd, clone, head, gitpush.HistoryOptions{Since: since})
	}
	list, err := daemon.Audit(cmd.Context(), clone, head, gitpush.HistoryOptions{Since: since, Policy: f.policy, Image: f.image, File: f.file})
	if err != nil {
		return fmt.Errorf("history of %s: %w", f.dir, err)
	}
	return show(cmd.OutOrStdout(), list)
}

// parseSince reads a day, a moment, or how long ago; the zero time for "".
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, now.Location()); err == nil {
		return t, nil
	}
	var days int
	if n, err := fmt.Sscanf(s, "%dd", &days); err == nil && n == 1 && s == fmt.Sprintf("%dd", days) && days >= 0 {
		return now.AddDate(0, 0, -days), nil
	}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("--since %q: expected a day (2026-01-31), a time (2026-01-31T12:00:00Z) or how long ago (36h, 7d)", s)
}

// historyFormats are the values of --output.
var historyFormats = map[string]func(io.Writer, iter.Seq2[daemon.Audited, error]) error{
	"table": historyTable,
	"json":  historyIn("json"),
	"yaml":  historyIn("yaml"),
	"csv":   historyCSV,
}

func historyTable(out io.Writer, list iter.Seq2[daemon.Audited, error]) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tCOMMIT\tWHAT\tPOLICY\tFROM\tTO\tIMAGE\tAUTHOR\tTRIGGER\tFIELDS\tREVERTED")
	for e, err := range list {
		if err != nil {
			w.Flush()
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", e.Time.UTC().Format(time.RFC3339), bump.Short(e.Commit), e.Kind, e.Policy, dash(e.From), dash(e.To),
			dash(e.Image), dash(e.Author.Name), dash(e.Trigger), len(e.Fields), reversal(e))
	}
	return w.Flush()
}

// reversal tells who took an entry back, or "-".
func reversal(e daemon.Audited) string {
	switch {
	case !e.Undone:
		return "-"
	case e.By.Commit == "":
		return "by somebody"
	}
	return fmt.Sprintf("%s by %s in %s", e.By.Time.UTC().Format(time.RFC3339), e.By.Author.Name, bump.Short(e.By.Commit))
}

// dash fills a cell that would be empty.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// historyEntry is an entry in JSON and YAML.
type historyEntry struct {
	Time     time.Time     `json:"time"`
	Commit   string        `json:"commit"`
	Kind     string        `json:"kind"` // bump, rollback or release
	Author   string        `json:"author"`
	Subject  string        `json:"subject"`
	Policy   string        `json:"policy"`
	Image    string        `json:"image"`
	From     string        `json:"from"`
	To       string        `json:"to"`
	Hold     string        `json:"hold,omitempty"` // of a rollback: what is to stay out
	Digest   string        `json:"digest,omitempty"`
	Fields   []string      `json:"fields"`
	Reason   string        `json:"reason,omitempty"`
	Trigger  string        `json:"trigger,omitempty"`
	Reverted *revertedJSON `json:"reverted,omitempty"`
}

// revertedJSON is who took an entry back; empty where Git does not tell.
type revertedJSON struct {
	Time   time.Time `json:"time,omitzero"`
	Commit string    `json:"commit,omitempty"`
	Author string    `json:"author,omitempty"`
}

// historyIn prints one list in JSON or YAML, also when it is empty.
func historyIn(format string) func(io.Writer, iter.Seq2[daemon.Audited, error]) error {
	return func(out io.Writer, list iter.Seq2[daemon.Audited, error]) error {
		all, err := historyEntries(list)
		if err != nil {
			return err
		}
		return writeAs(out, format, all)
	}
}

func historyEntries(list iter.Seq2[daemon.Audited, error]) ([]historyEntry, error) {
	all := []historyEntry{}
	for e, err := range list {
		if err != nil {
			return nil, err
		}
		entry := historyEntry{
			Time: e.Time.UTC(), Commit: e.Commit, Kind: string(e.Kind), Author: author(e.Author), Subject: e.Subject, Policy: e.Policy.String(),
			Image: e.Image, From: e.From, To: e.To, Hold: e.Hold, Digest: e.Digest, Fields: fieldsOf(e), Reason: e.Reason, Trigger: e.Trigger,
		}
		if e.Undone {
			entry.Reverted = &revertedJSON{e.By.Time.UTC(), e.By.Commit, author(e.By.Author)}
		}
		all = append(all, entry)
	}
	return all, nil
}

// historyCSV prints a line per bump, the fields of a bump separated by spaces
// and semicolons.
func historyCSV(out io.Writer, list iter.Seq2[daemon.Audited, error]) error {
	w := csv.NewWriter(out)
	if err := w.Write([]string{"time", "commit", "kind", "author", "policy", "image", "from", "to", "digest", "trigger", "fields", "subject", "reason",
		"reverted", "reverted commit", "reverted by"}); err != nil {
		return err
	}
	for e, err := range list {
		if err == nil {
			when := ""
			if e.By.Commit != "" {
				when = e.By.Time.UTC().Format(time.RFC3339)
			} else if e.Undone {
				when = "yes"
			}
			err = w.Write(defused(e.Time.UTC().Format(time.RFC3339), e.Commit, string(e.Kind), author(e.Author), e.Policy.String(), e.Image, e.From, e.To, e.Digest,
				e.Trigger, strings.Join(fieldsOf(e), "; "), e.Subject, e.Reason, when, e.By.Commit, author(e.By.Author)))
		}
		if err != nil {
			w.Flush()
			return err
		}
	}
	w.Flush()
	return w.Error()
}

// defused puts an apostrophe before cells that a spreadsheet would take for a
// formula: what stands in a commit is written by whoever may push.
func defused(cells ...string) []string {
	for i, c := range cells {
		if c != "" && strings.ContainsRune("=+-@\t\r", rune(c[0])) {
			cells[i] = "'" + c
		}
	}
	return cells
}

func fieldsOf(e daemon.Audited) []string {
	fields := []string{}
	for _, f := range e.Fields {
		fields = append(fields, f.String())
	}
	return fields
}

// author returns "name <address>", or "" for nobody.
func author(a gitpush.Author) string {
	if a == (gitpush.Author{}) {
		return ""
	}
	return fmt.Sprintf("%s <%s>", a.Name, a.Email)
}
