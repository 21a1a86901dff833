package daemon

import (
	"fmt"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
)

// PanicError is a panic that ended one task instead of the daemon.
type PanicError struct {
	Task  string
	Value any
	Stack []byte
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("%s: internal error: %v; please report it with this stack:\n%s", e.Task, e.Value, e.Stack)
}

// recovered turns a panic of the function that defers it into an error.
func recovered(task string, count prometheus.Counter, err *error) {
	if v := recover(); v != nil {
		count.Inc()
		*err = &PanicError{Task: task, Value: v, Stack: debug.Stack()}
	}
}
