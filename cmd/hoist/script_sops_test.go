package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"hoist/testenv/sealer"
)

const sopsUsage = "sops key DIR, sops encrypt DIR FILE…"

// cmdSops is what persons do with secrets before they commit them:
//
//	sops key DIR             make an age key, DIR/hoist.agekey
//	sops encrypt DIR FILE…   encrypt files in place for that key; of YAML only data and stringData
func cmdSops(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) >= 2, sopsUsage)
	w, dir := worldOf(ts), args[1]
	switch {
	case args[0] == "key" && len(args) == 2:
		private, recipient, err := sealer.AgeKey()
		ts.Check(err)
		w.write(ts, map[string][]byte{dir + "/hoist.agekey": private})
		w.recipients[dir] = recipient
	case args[0] == "encrypt" && w.recipients[dir] != "":
		s, err := sealer.New(ctx(), os.Stderr)
		ts.Check(err)
		for _, file := range args[2:] {
			text, err := os.ReadFile(ts.MkAbs(file))
			ts.Check(err)
			r := sealer.Request{Format: "binary", Text: text, Groups: []sealer.Group{{Age: []string{w.recipients[dir]}}}}
			switch filepath.Ext(file) {
			case ".yaml":
				r.Format, r.EncryptedRegex = "yaml", "^(data|stringData)$"
			case ".env":
				r.Format = "dotenv"
			}
			sealed, err := s.Seal(ctx(), r)
			ts.Check(err)
			expect(ts, false, !strings.Contains(string(sealed), "hunter2"), "%s is not encrypted", file)
			ts.Check(os.WriteFile(ts.MkAbs(file), sealed, 0o600))
		}
	default:
		usage(ts, false, sopsUsage)
	}
}
