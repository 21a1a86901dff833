package main

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdGet waits until the answer of a URL matches: get URL REGEXP.
func cmdGet(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 2 && !neg, "get URL REGEXP")
	re := regexp.MustCompile("(?s)" + args[1])
	eventually(ts, "get "+args[0], func() (bool, string) {
		res, err := http.Get(args[0])
		if err != nil {
			return false, err.Error()
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return false, err.Error()
		}
		return re.Match(body), string(body)
	})
}

// cmdPost posts a file and expects it to be taken: [!] post URL FILE AUTHORIZATION.
func cmdPost(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, len(args) == 3, "post URL FILE AUTHORIZATION")
	req, err := http.NewRequest(http.MethodPost, args[0], strings.NewReader(ts.ReadFile(args[1])))
	ts.Check(err)
	req.Header.Set("Authorization", args[2])
	res, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer res.Body.Close()
	fmt.Fprintln(ts.Stdout(), res.Status)
	expect(ts, neg, res.StatusCode/100 == 2, "post %s: %s", args[0], res.Status)
}
