package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"hoist/bump"
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
is written and nobody is asked: what was not fetched is not listed.`,
		Example: `  hoist history --since 7d
  hoist history -C ~/src/fleet --branch main --policy api-service -o csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, time.Now()) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.dir, "directory", "C", ".", "look in the clone at `dir`")
	flags.StringVar(&f.branch, "branch", "", "`name` of the branch (default: what is checked out)")
	flags.StringVar(&f.policy, "policy", "", "only bumps by policies that match the `pattern`: namespace:name, or a name in any namespace")
	flags.StringVar(&f.image, "image", "", "only bumps of images that match the `pattern`")
	flags.StringVar(&f.since, "since", "", "only bumps since this `time`: 2026-01-31, 2026-01-31T12:00:00Z, or ago: 36h, 7d")
	flags.StringVarP(&f.output, "output", "o", "table", "`format`: table, json or csv")
	return cmd
}

// historyFlags is the command line of history.
type historyFlags struct {
	dir, branch, policy, image, since, output string
}

func (f *historyFlags) run(cmd *cobra.Command, now time.Time) error {
	show, ok := historyFormats[f.output]
	if !ok {
		return &exitError{code: 2, err: fmt.Errorf("--output %q: expected table, json or csv", f.output)}
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
	list, err := clone.History(cmd.Context(), head, gitpush.HistoryOptions{Since: since, Policy: f.policy, Image: f.image})
	if err != nil {
		return fmt.Errorf("history of %s: %w", f.dir, err)
	}
	if clone.Shallow() {
		fmt.Fprintf(cmd.ErrOrStderr(), "hoist: warning: %s is a shallow clone, older bumps are not in it; git fetch --unshallow brings them\n", f.dir)
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
var historyFormats = map[string]func(io.Writer, iter.Seq2[gitpush.Entry, error]) error{
	"table": historyTable,
	"json":  historyJSON,
	"csv":   historyCSV,
}

func historyTable(out io.Writer, list iter.Seq2[gitpush.Entry, error]) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TIME\tCOMMIT\tPOLICY\tFROM\tTO\tIMAGE\tTRIGGER\tFIELDS")
	for e, err := range list {
		if err != nil {
			w.Flush()
			return err
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\n", e.Time.UTC().Format(time.RFC3339), bump.Short(e.Commit), e.Policy, dash(e.From), dash(e.To),
			e.Image, dash(e.Trigger), len(e.Fields))
	}
	return w.Flush()
}

// dash fills a cell that would be empty.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// historyEntry is an entry in JSON.
type historyEntry struct {
	Time    time.Time `json:"time"`
	Commit  string    `json:"commit"`
	Author  string    `json:"author"`
	Subject string    `json:"subject"`
	Policy  string    `json:"policy"`
	Image   string    `json:"image"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Digest  string    `json:"digest,omitempty"`
	Fields  []string  `json:"fields"`
	Trigger string    `json:"trigger,omitempty"`
}

// historyJSON prints one list, also when it is empty.
func historyJSON(out io.Writer, list iter.Seq2[gitpush.Entry, error]) error {
	all := []historyEntry{}
	for e, err := range list {
		if err != nil {
			return err
		}
		all = append(all, historyEntry{e.Time.UTC(), e.Commit, author(e), e.Subject, e.Policy.String(), e.Image, e.From, e.To, e.Digest,
			append([]string{}, e.Fields...), e.Trigger})
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(all)
}

// historyCSV prints a line per bump, the fields of a bump separated by spaces
// and semicolons.
func historyCSV(out io.Writer, list iter.Seq2[gitpush.Entry, error]) error {
	w := csv.NewWriter(out)
	if err := w.Write([]string{"time", "commit", "author", "policy", "image", "from", "to", "digest", "trigger", "fields", "subject"}); err != nil {
		return err
	}
	for e, err := range list {
		if err == nil {
			err = w.Write([]string{e.Time.UTC().Format(time.RFC3339), e.Commit, author(e), e.Policy.String(), e.Image, e.From, e.To, e.Digest,
				e.Trigger, strings.Join(e.Fields, "; "), e.Subject})
		}
		if err != nil {
			w.Flush()
			return err
		}
	}
	w.Flush()
	return w.Error()
}

func author(e gitpush.Entry) string { return fmt.Sprintf("%s <%s>", e.Author.Name, e.Author.Email) }
