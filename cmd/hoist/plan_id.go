package main

import (
	"fmt"
	"strings"
)

// triggerOnce is what commits of `hoist once` say asked for them. A plan shows
// the commits as they would be pushed, so it says the same.
const triggerOnce = "once"

// samePlan refuses a plan that is no longer what would happen.
func samePlan(wanted, now string) error {
	if strings.EqualFold(wanted, now) {
		return nil
	}
	return &exitError{
		code:  1,
		err:   fmt.Errorf("plan %s is not what would happen now, that is plan %s: nothing was pushed", wanted, now),
		hints: []string{"a branch, a registry or the configuration has moved since; look at `hoist plan` again"},
	}
}
