package sops_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"hoist/sops"
	"hoist/testenv/sealer"
)

// seal encrypts with the library of SOPS.
func seal(t testing.TB, r sealer.Request) []byte {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a built program")
	}
	s, err := sealer.New(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Seal(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// ageKeys makes a key, and the group of files that are encrypted for it.
func ageKeys(t testing.TB) (*sops.Keys, sealer.Group) {
	t.Helper()
	private, recipient, err := sealer.AgeKey()
	if err != nil {
		t.Fatal(err)
	}
	return keys(t, map[string][]byte{"a.agekey": private}), sealer.Group{Age: []string{recipient}}
}

func pgpKeys(t testing.TB) (*sops.Keys, sealer.Group) {
	t.Helper()
	private, recipient, err := sealer.PGPKey()
	if err != nil {
		t.Fatal(err)
	}
	return keys(t, map[string][]byte{"a.asc": private}), sealer.Group{PGP: []sealer.PGPRecipient{recipient}}
}

func keys(t testing.TB, secret map[string][]byte) *sops.Keys {
	t.Helper()
	k, err := sops.ParseKeys(secret, sops.Allow{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

const secretYAML = `# who may come in
apiVersion: v1
kind: Secret
metadata:
  name: db
  labels: {tier: "1", on: true}
stringData:
  password: hunter2-hunter2
  word: "yes"
  number: "007"
  lines: |
    one
    two "quoted" ${three}
  empty: ""
  umlaut: 'ü: {["#"]}'
  # a comment among them
  list: [a, 1, 2.5, true, null, "no"]
count: 8
ratio: 0.1
big: 1e21
off: false
when: 2026-01-02T03:04:05Z
none: null
`

// decoded reads YAML documents or JSON for a comparison.
func decoded(t *testing.T, b []byte) (all []any) {
	t.Helper()
	for dec := yaml.NewDecoder(bytes.NewReader(b)); ; {
		var v any
		if err := dec.Decode(&v); err != nil {
			if err.Error() == "EOF" {
				return all
			}
			t.Fatalf("%v in\n%s", err, b)
		}
		all = append(all, v)
	}
}

func TestOpenGivesBackWhatSopsEncrypted(t *testing.T) {
	ageKey, forAge := ageKeys(t)
	pgpKey, forPGP := pgpKeys(t)
	two := secretYAML + "---\napiVersion: v1\nkind: Secret\nmetadata: {name: two}\ndata: {a: aGk=}\n"
	for _, c := range []struct {
		name, format, file, text string
		with                     sealer.Request
	}{
		{"yaml", "yaml", "s.yaml", secretYAML, sealer.Request{}},
		{"yaml, some values", "yaml", "s.yaml", secretYAML, sealer.Request{EncryptedRegex: "^(data|stringData)$"}},
		{"yaml, MAC over these", "yaml", "s.yml", secretYAML, sealer.Request{EncryptedRegex: "^(data|stringData)$", MACOnlyEncrypted: true}},
		{"yaml, by suffix", "yaml", "s.yaml", secretYAML, sealer.Request{UnencryptedSuffix: "Data"}},
		{"yaml, by comment", "yaml", "s.yaml", strings.Replace(secretYAML, "  password:", "  # sops:enc\n  password:", 1), sealer.Request{CommentRegex: "sops:enc"}},
		{"yaml, two documents", "yaml", "s.yaml", two, sealer.Request{EncryptedRegex: "^(data|stringData)$"}},
		{"yaml, another name", "yaml", "s.encrypted", two, sealer.Request{}},
		{"json", "json", "s.json", `{"kind":"Secret","n":1,"f":1.5,"big":1e21,"l":["a",{"b":null},true],"s":"ü\"\\\n<&>","e":{},"data":{"x":"y"}}`, sealer.Request{}},
		{"json of one key", "json", "s.json", `{"data":"hunter2"}`, sealer.Request{}},
		{"json, another name", "json", "s.json.enc", `{"a":{"b":"c"}}`, sealer.Request{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for i, k := range []*sops.Keys{ageKey, pgpKey} {
				r := c.with
				r.Format, r.Text, r.Groups = c.format, []byte(c.text), []sealer.Group{[]sealer.Group{forAge, forPGP}[i]}
				sealed := seal(t, r)
				p, err := sops.Open(t.Context(), c.file, sealed, sops.Options{Keys: k})
				if err != nil || p == nil {
					t.Fatalf("Open: %v\n%s", err, sealed)
				}
				if got, want := decoded(t, p.Bytes), decoded(t, []byte(c.text)); !reflect.DeepEqual(got, want) {
					t.Errorf("got  %v\nwant %v\nfrom\n%s", got, want, p.Bytes)
				}
				if len(p.Values) == 0 {
					t.Error("no value was told of")
				}
			}
		})
	}
}

func TestOpenGivesBackFilesOfLines(t *testing.T) {
	k, g := ageKeys(t)
	for _, c := range []struct{ format, file, text, want string }{
		{"dotenv", "a.env", "# for the shop\nUSER=bob\nPASSWORD=hunter2=#x\nLINES=one\\ntwo\nEMPTY=\n", "USER=bob\nPASSWORD=hunter2=#x\nLINES=one\\ntwo\nEMPTY=\n"},
		{"dotenv", "a.env.encrypted", "A=1\n", "A=1\n"},
		{"binary", "a.bin", "\x00\xff\xfe not text \n", "\x00\xff\xfe not text \n"},
		{"binary", "values.yaml", "a: b\n", "a: b\n"},
		{"ini", "a.ini", "top = 1\n[shop]\nuser = bob\npassword = hunter2\n; why\n[other]\nuser = `a;b`\n", "top = 1\n[shop]\nuser = bob\npassword = hunter2\n[other]\nuser = `a;b`\n"},
	} {
		sealed := seal(t, sealer.Request{Format: c.format, Text: []byte(c.text), Groups: []sealer.Group{g}})
		p, err := sops.Open(t.Context(), c.file, sealed, sops.Options{Keys: k})
		if err != nil || p == nil {
			t.Errorf("Open(%s): %v\n%s", c.file, err, sealed)
			continue
		}
		var kept []string // without comments, heads of empty sections
		for line := range strings.Lines(string(p.Bytes)) {
			if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, ";") && strings.TrimSpace(line) != "[DEFAULT]" {
				kept = append(kept, line)
			}
		}
		if got := strings.Join(kept, ""); got != c.want {
			t.Errorf("Open(%s) = %q, want %q\n%s", c.file, got, c.want, sealed)
		}
	}
}

// A file may be put together of documents that were encrypted one by one, and of
// others.
func TestOpenDocumentsEncryptedOneByOne(t *testing.T) {
	k, g := ageKeys(t)
	one := func(name string) string {
		return string(seal(t, sealer.Request{Format: "yaml", Text: []byte("kind: Secret\nstringData: {name: " + name + "}\n"), EncryptedRegex: "Data", Groups: []sealer.Group{g}}))
	}
	p, err := sops.Open(t.Context(), "all.yaml", []byte(one("a")+"---\nkind: Service\nspec: {a: &x [1], b: *x}\n---\n"+one("b")), sops.Options{Keys: k})
	if err != nil {
		t.Fatal(err)
	}
	want := decoded(t, []byte("kind: Secret\nstringData: {name: a}\n---\nkind: Service\nspec: {a: [1], b: [1]}\n---\nkind: Secret\nstringData: {name: b}\n"))
	if got := decoded(t, p.Bytes); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSkippedDocumentsStayAsTheyAre(t *testing.T) {
	k, g := ageKeys(t)
	sealed := seal(t, sealer.Request{Format: "yaml", Text: []byte("kind: A\ns: hunter2\n---\nkind: B\ns: hunter2\n"), EncryptedRegex: "^s$", Groups: []sealer.Group{g}})
	kind := func(kinds string) sops.Options {
		return sops.Options{Keys: k, Skip: func(n *yaml.Node) bool {
			var o struct{ Kind string }
			return n.Decode(&o) == nil && strings.Contains(kinds, o.Kind)
		}}
	}
	if p, err := sops.Open(t.Context(), "a.yaml", sealed, kind("AB")); p != nil || err != nil {
		t.Errorf("both are skipped: %v, %v, want neither", p, err)
	}
	if _, err := sops.Open(t.Context(), "a.yaml", sealed, kind("A")); err == nil || !strings.Contains(err.Error(), "share one MAC") {
		t.Errorf("one of two is skipped: %v, want a refusal", err)
	}
}

// B13: whatever is changed, added, moved or taken away breaks the MAC.
func TestB13ChangedFilesAreRefused(t *testing.T) {
	k, g := ageKeys(t)
	text := "kind: Secret\nmetadata: {name: db}\nstringData:\n  one: hunter2-one\n  two: hunter2-two\n"
	for _, only := range []bool{false, true} {
		sealed := string(seal(t, sealer.Request{Format: "yaml", Text: []byte(text), EncryptedRegex: "Data", MACOnlyEncrypted: only, Groups: []sealer.Group{g}}))
		lines := strings.SplitAfter(sealed, "\n")
		at := func(key string) int {
			for i, l := range lines {
				if strings.Contains(l, " "+key+": ENC[") {
					return i
				}
			}
			t.Fatalf("no %s in\n%s", key, sealed)
			return 0
		}
		one, two := lines[at("one")], lines[at("two")]
		swapped := strings.NewReplacer(one, strings.Replace(two, "two:", "one:", 1), two, strings.Replace(one, "one:", "two:", 1)).Replace(sealed)
		for name, changed := range map[string]string{
			"a value that is not encrypted": strings.Replace(sealed, "name: db", "name: db2", 1),
			"a value removed":               strings.Replace(sealed, one, "", 1),
			"two values swapped":            swapped,
			"a value in plain text":         strings.Replace(sealed, one, "    one: letmein\n", 1),
			"a value twice":                 strings.Replace(sealed, one, one+strings.Replace(one, "one:", "three:", 1), 1),
			"the MAC":                       strings.Replace(sealed, "mac: ENC[AES256_GCM,data:", "mac: ENC[AES256_GCM,data:AAAA", 1),
			"no MAC":                        strings.Replace(sealed, "mac: ENC", "mac: XNC", 1),
		} {
			p, err := sops.Open(t.Context(), "s.yaml", []byte(changed), sops.Options{Keys: k})
			if only && name == "a value that is not encrypted" {
				if err != nil {
					t.Errorf("%s, which its MAC leaves out: %v", name, err)
				}
				continue
			}
			if p != nil || err == nil {
				t.Errorf("%s (only encrypted: %t): opened, want a refusal", name, only)
			} else if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: the error repeats a value: %v", name, err)
			}
		}
	}
}

func TestB13ChangedLinesAreRefused(t *testing.T) {
	k, g := ageKeys(t)
	unchanged := map[string]bool{"a.env": true, "a.ini": true, "a.json": true}
	for file, r := range map[string]sealer.Request{
		"a.env":  {Format: "dotenv", Text: []byte("ONE=hunter2\nTWO_unencrypted=b\n"), UnencryptedSuffix: "_unencrypted"},
		"a.ini":  {Format: "ini", Text: []byte("[s]\none = hunter2\ntwo_unencrypted = b\n"), UnencryptedSuffix: "_unencrypted"},
		"a.json": {Format: "json", Text: []byte(`{"one":"hunter2","two_unencrypted":"b"}`), UnencryptedSuffix: "_unencrypted"},
	} {
		r.Groups = []sealer.Group{g}
		sealed := string(seal(t, r))
		if p, err := sops.Open(t.Context(), file, []byte(sealed), sops.Options{Keys: k}); err != nil || !strings.Contains(string(p.Bytes), "hunter2") {
			t.Errorf("%s: %v", file, err)
		}
		for _, c := range [][2]string{{"_unencrypted=b", "_unencrypted=c"}, {"two_unencrypted = b", "two_unencrypted = c"}, {`"two_unencrypted": "b"`, `"two_unencrypted": "c"`}} {
			changed := strings.Replace(sealed, c[0], c[1], 1)
			if p, err := sops.Open(t.Context(), file, []byte(changed), sops.Options{Keys: k}); changed != sealed && (p != nil || !errors.Is(err, sops.ErrChanged)) {
				t.Errorf("%s: %v, %v, want it refused", file, p, err)
			} else if changed != sealed {
				delete(unchanged, file)
			}
		}
	}
	if len(unchanged) > 0 {
		t.Errorf("%v were not changed", unchanged)
	}
}

// B12: the error says for whom a file is and which keys are there.
func TestB12MissingKeyNamesRecipients(t *testing.T) {
	_, forAge := ageKeys(t)
	_, forPGP := pgpKeys(t)
	private, other, err := sealer.AgeKey()
	if err != nil {
		t.Fatal(err)
	}
	sealed := seal(t, sealer.Request{Format: "yaml", Text: []byte("a: hunter2\n"), Groups: []sealer.Group{{Age: forAge.Age, PGP: forPGP.PGP}}})
	for _, k := range []*sops.Keys{nil, keys(t, map[string][]byte{"x.agekey": private})} {
		_, err := sops.Open(t.Context(), "s.yaml", sealed, sops.Options{Keys: k})
		var missing *sops.NoKeyError
		if !errors.As(err, &missing) {
			t.Fatalf("Open = %v, want a NoKeyError", err)
		}
		for _, want := range []string{forAge.Age[0], "pgp " + forPGP.PGP[0].Fingerprint} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: does not name %s", err, want)
			}
		}
		if k != nil && !strings.Contains(err.Error(), other) {
			t.Errorf("%v: does not name the key that is there, %s", err, other)
		}
	}
}

func TestKeyGroupsNeedTheirThreshold(t *testing.T) {
	var groups []sealer.Group
	secret := map[string][]byte{}
	for i := range 3 {
		private, recipient, err := sealer.AgeKey()
		if err != nil {
			t.Fatal(err)
		}
		secret[fmt.Sprintf("%d.agekey", i)] = private
		groups = append(groups, sealer.Group{Age: []string{recipient}})
	}
	sealed := seal(t, sealer.Request{Format: "yaml", Text: []byte("a: hunter2\n"), Groups: groups, Threshold: 2})
	delete(secret, "0.agekey")
	p, err := sops.Open(t.Context(), "s.yaml", sealed, sops.Options{Keys: keys(t, secret)})
	if err != nil || strings.TrimSpace(string(p.Bytes)) != `a: "hunter2"` {
		t.Errorf("with keys of two groups: %v", err)
	}
	delete(secret, "1.agekey")
	if _, err := sops.Open(t.Context(), "s.yaml", sealed, sops.Options{Keys: keys(t, secret)}); err == nil || !strings.Contains(err.Error(), "keys of 2 of its 3 groups are needed, 1 are there") {
		t.Errorf("with the key of one group: %v", err)
	}
}

// B15: files that would cost a daemon its life are errors.
func TestB15HostileFilesAreErrors(t *testing.T) {
	k, _ := ageKeys(t)
	const mac = "\n  mac: ENC[AES256_GCM,data:a,iv:a,tag:a,type:str]\n  age: [{recipient: x, enc: y}]\n"
	for name, b := range map[string]string{
		"an alias within itself": "a: 1\n---\na: &a [*a]\nsops:" + mac,
		"deep JSON":              strings.Repeat("[", 1<<20) + `"sops ENC[AES256_GCM,data:`,
		"deep JSON that is well": `{"sops":{"mac":"ENC[AES256_GCM,data:"},"a":` + strings.Repeat("[", 1<<20) + strings.Repeat("]", 1<<20) + "}",
		"too big":                "sops: {" + strings.Repeat(" ", sops.MaxSize) + mac + "}",
		"many keys":              "a: b\nsops:\n  mac: 'ENC[AES256_GCM,data:'\n  age:\n" + strings.Repeat("  - {recipient: x, enc: y}\n", 1000),
		"no keys":                "a: b\nsops:\n  mac: 'ENC[AES256_GCM,data:'\n",
		"metadata of no form":    "a: b\nsops: {mac: 'ENC[AES256_GCM,data:', age: x}\n",
		"lines of no form":       "sops_mac=ENC[AES256_GCM,data:\nhunter2\n",
		"a list too long":        "A=ENC[AES256_GCM,data:\nsops_mac=x\nsops_age__list_99999999__map_enc=x\n",
	} {
		p, err := sops.Open(t.Context(), "s.txt", []byte(b), sops.Options{Keys: k})
		if p != nil {
			t.Errorf("%s: opened", name)
		}
		if err == nil && !strings.HasPrefix(name, "deep") { // which is no JSON to anybody
			t.Errorf("%s: no error", name)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error repeats a line: %v", name, err)
		}
	}
}

func TestFilesThatSpeakOfSopsAreNotTouched(t *testing.T) {
	for _, b := range []string{"", "a: b\n", "sops: ENC[AES256_GCM,data:\n", "doc: the sops mac is ENC[AES256_GCM,data:…]\n", "{{{ sops ENC[AES256_GCM,data:", "# sops\nx=ENC[AES256_GCM,data:"} {
		if sops.Encrypted("a.yaml", []byte(b)) {
			t.Errorf("Encrypted(%q)", b)
		}
		if p, err := sops.Open(t.Context(), "a.yaml", []byte(b), sops.Options{}); p != nil || err != nil {
			t.Errorf("Open(%q) = %v, %v", b, p, err)
		}
	}
}

func TestParseKeysRepeatsNoKey(t *testing.T) {
	for name, value := range map[string]string{"a.agekey": "AGE-SECRET-KEY-1HUNTER2", "a.asc": "hunter2"} {
		_, err := sops.ParseKeys(map[string][]byte{name: []byte(value)}, sops.Allow{})
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(strings.ToLower(err.Error()), "hunter2") {
			t.Errorf("ParseKeys(%s) = %v", name, err)
		}
	}
}

// Whatever a file holds, Open comes back, and nothing that it says is in an error.
func FuzzOpen(f *testing.F) {
	k, _ := ageKeys(f)
	for _, s := range []string{
		"a: ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]\nsops:\n  mac: x\n  lastmodified: 2026-01-02T03:04:05Z\n  age: [{recipient: a, enc: b}]\n",
		`{"data":"ENC[AES256_GCM,data:YQ==,iv:YQ==,tag:YQ==,type:str]","sops":{"mac":"x","pgp":[{"fp":"a","enc":"b"}]}}`,
		"A=ENC[AES256_GCM,data:\nsops_mac=x\nsops_age__list_0__map_enc=x\n", "[a]\nb = ENC[AES256_GCM,data:\n[sops]\nmac = x\n",
	} {
		f.Add("a.yaml", []byte(s))
	}
	f.Fuzz(func(t *testing.T, name string, b []byte) {
		if p, _ := sops.Open(t.Context(), name, b, sops.Options{Keys: k}); p != nil {
			t.Errorf("opened without a key:\n%s", base64.StdEncoding.EncodeToString(b))
		}
	})
}
