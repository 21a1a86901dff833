package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"hoist/config"
	"hoist/setter"
)

// newInit returns the verb that makes a repository ready for Hoist: markers and
// a first configuration.
func newInit() *cobra.Command {
	r := initRun{}
	var yes bool
	var output string
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Propose markers and a first configuration for a repository",
		Long: `Look for images below DIR (default: here) in workloads, kustomize files and Helm
values, propose for each a policy that goes on from the tag in use, and show the
markers and the configuration that say so. After a yes they are written: markers
as comments behind the values, not another byte of these files; and the
configuration as a new file. Nothing is contacted, committed or pushed.

Images that should be left alone are listed with what to do about them. Run it
again after that: what is marked already stays as it is.

Exit codes: 0 written, or nothing to write; 1 an error, or a no; 2 there was
something to write, but no terminal to ask on and no --yes.`,
		Example: `  hoist init
  hoist init ~/src/fleet --yes
  hoist init -o json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkFormat(output, "table", "json", "yaml"); err != nil {
				return err
			}
			r.dir = "."
			if len(args) == 1 {
				r.dir = args[0]
			}
			r.format, r.out, r.err = output, cmd.OutOrStdout(), cmd.ErrOrStderr()
			switch {
			case yes:
				r.ask = func(context.Context, string) (bool, error) { return true, nil }
			case isTerminal(cmd.InOrStdin()) && isTerminal(r.err):
				r.ask = asking(cmd.InOrStdin(), r.err)
			}
			return r.run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&r.config, "config", "c", "hoist.yaml", "`file` that the configuration is written to; it is never overwritten")
	cmd.Flags().BoolVar(&yes, "yes", false, "write without asking")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table, json or yaml")
	return cmd
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// asking returns a function that puts a question to the person at the terminal.
func asking(in io.Reader, out io.Writer) func(context.Context, string) (bool, error) {
	return func(ctx context.Context, question string) (bool, error) {
		fmt.Fprintf(out, "%s [y/N] ", question)
		answer := make(chan string, 1)
		go func() {
			line, _ := bufio.NewReader(in).ReadString('\n')
			answer <- strings.ToLower(strings.TrimSpace(line))
		}()
		select {
		case a := <-answer:
			return a == "y" || a == "yes", nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// initRun is one run of the verb.
type initRun struct {
	dir, config string
	format      string
	out, err    io.Writer
	ask         func(context.Context, string) (bool, error) // nil where nobody can be asked
}

func (r *initRun) run(ctx context.Context) error {
	fi, err := os.Stat(r.dir)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a directory", r.dir)
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tree := setter.Dir(r.dir)
	images, unread, err := setter.Images(ctx, tree, setter.Options{})
	if err != nil {
		return err
	}
	sites, err := setter.Sites(ctx, tree, setter.Options{})
	if err != nil {
		return err
	}
	there, err := r.there()
	if err != nil {
		return err
	}
	p := proposeFor(images, sites, there)
	files, err := p.markFiles(root)
	if err != nil {
		return err
	}
	var text []byte
	if len(p.policies) > 0 {
		if text, err = firstConfig(r.dir, r.config, p); err != nil {
			return err
		}
	}
	if err := r.show(p, unread, files, text); err != nil {
		return err
	}
	if len(files) == 0 && text == nil {
		return nil
	}
	return r.write(ctx, root, files, text)
}

// there returns the configuration that is there already, an empty one if none is.
func (r *initRun) there() (*config.Config, error) {
	if _, err := os.Lstat(r.config); errors.Is(err, os.ErrNotExist) {
		return &config.Config{}, nil
	}
	c, err := config.Load(r.config)
	if err != nil {
		return nil, configError(err)
	}
	return c, nil
}

// show prints what would be written and what is left to the person.
func (r *initRun) show(p *initPlan, unread []setter.Unread, files []markedFile, text []byte) error {
	for _, u := range unread {
		fmt.Fprintf(r.err, "hoist: warning: %s: %s: passed over\n", u.File, u.Reason)
	}
	if r.format == "json" || r.format == "yaml" {
		return writeAs(r.out, r.format, p.report(unread, text != nil, r.config))
	}
	if rows := p.table(); len(rows) > 1 {
		if err := table(r.out, rows); err != nil {
			return err
		}
	}
	for _, f := range files {
		if _, err := io.WriteString(r.out, "\n"+udiff.Unified("a/"+f.name, "b/"+f.name, string(f.before), string(f.after))); err != nil {
			return err
		}
	}
	if text != nil {
		if _, err := io.WriteString(r.out, "\n"+udiff.Unified("/dev/null", "b/"+r.config, "", string(text))); err != nil {
			return err
		}
	}
	fmt.Fprintln(r.err, p.summary())
	return nil
}

// write asks, and writes the configuration and the markers.
func (r *initRun) write(ctx context.Context, root *os.Root, files []markedFile, text []byte) error {
	if _, err := os.Lstat(r.config); err == nil && text != nil {
		return &exitError{code: 1, err: fmt.Errorf("%s exists and is never overwritten: nothing was written", r.config),
			hints: []string{"--config NAME writes a configuration of the new policies beside it"}}
	}
	what := count(markersIn(files), "marker") + " in " + count(len(files), "file")
	if text != nil {
		what += " and " + r.config
	}
	if r.ask == nil {
		return &exitError{code: 2, err: errors.New("nothing was written: there is no terminal to ask on"), hints: []string{"--yes writes " + what}}
	}
	yes, err := r.ask(ctx, "write "+what+"?")
	if err != nil {
		return err
	}
	if !yes {
		return &exitError{code: 1, err: errors.New("nothing was written")}
	}
	if text != nil {
		if err := createFile(r.config, text); err != nil {
			return err
		}
	}
	dirs := map[string]bool{}
	for i, f := range files {
		if err := f.write(root); err != nil {
			return fmt.Errorf("%w; %d of %d files are written, run init again for the rest", err, i, len(files))
		}
		dirs[path.Dir(f.name)] = true
	}
	for dir := range dirs {
		if err := syncDir(root, dir); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.err, "wrote %s\n", what)
	if text != nil {
		fmt.Fprintf(r.err, "next: look at %s, commit the markers, push; then `hoist config check` and `hoist plan`\n", r.config)
	}
	return nil
}

// createFile writes a file that must not be there yet, whole or not at all.
func createFile(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

// count says "1 marker" or "3 markers".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
