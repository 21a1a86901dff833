package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/types"
	celref "github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"
	"github.com/google/cel-go/ext"
)

// An evaluation ends when it has cost so much or lasted so long: a bad
// expression must not hold up who asks (N6). Health by a condition costs about 50.
const (
	longestEvaluation = time.Second
	dearestEvaluation = 1_000_000
)

// expression is a CEL expression that is true or false. The zero value is none.
type expression struct {
	text    string
	program cel.Program
}

// MarshalText returns the expression as it was written.
func (x expression) MarshalText() ([]byte, error) { return []byte(x.text), nil }

// IsZero tells whether there is no expression.
func (x expression) IsZero() bool { return x.text == "" }

// HealthExpr is an expression over an object: the object's top-level fields are
// its variables.
type HealthExpr struct{ expression }

// UnmarshalText compiles an expression; an empty text is none.
func (x *HealthExpr) UnmarshalText(text []byte) (err error) {
	x.expression, err = compile(string(text), nil)
	return err
}

// ReadyExpr is an expression over two apps: dep is the one that is waited for,
// self the one that waits.
type ReadyExpr struct{ expression }

// UnmarshalText compiles an expression; an empty text is none.
func (x *ReadyExpr) UnmarshalText(text []byte) (err error) {
	x.expression, err = compile(string(text), []string{"dep", "self"})
	return err
}

// Holds tells whether the expression is true of an app that waits, self, and of
// the one that it waits for, dep.
func (x ReadyExpr) Holds(self, dep map[string]any) (bool, error) {
	return x.holds(map[string]any{"self": self, "dep": dep})
}

// language is CEL with what Flux adds to it.
var language = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(cel.EagerlyValidateDeclarations(true), cel.DefaultUTCTimeZone(true), cel.CrossTypeNumericComparisons(true),
		cel.OptionalTypes(), ext.Strings(), ext.Sets(), ext.Encoders())
})

// compile reads an expression over mappings of the given names, or over anything
// when there are none.
func compile(text string, variables []string) (expression, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return expression{}, nil
	}
	env, err := language()
	if err != nil {
		return expression{}, err
	}
	parsed, issues := env.Parse(text)
	if err := firstIssue(text, issues); err != nil {
		return expression{}, err
	}
	declared := cel.MapType(cel.StringType, cel.DynType)
	if variables == nil {
		variables, declared = freeNames(env, parsed), cel.DynType
	}
	var options []cel.EnvOption
	for _, v := range variables {
		options = append(options, cel.Variable(v, declared))
	}
	typed, err := env.Extend(options...)
	if err != nil {
		return expression{}, err
	}
	checked, issues := typed.Check(parsed)
	if err := firstIssue(text, issues); err != nil {
		return expression{}, err
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return expression{}, fmt.Errorf("the expression gives a value of type %s, not true or false", t)
	}
	// What is run is not type-checked, as in Flux: a field's type is that of its value.
	program, err := env.Program(parsed, cel.EvalOptions(cel.OptOptimize), cel.InterruptCheckFrequency(100),
		cel.CostLimit(dearestEvaluation), cel.CostTracking(bySize{}))
	return expression{text, program}, err
}

// firstIssue says what is wrong with an expression, and where in it.
func firstIssue(text string, issues *cel.Issues) error {
	if issues.Err() == nil {
		return nil
	}
	all := issues.Errors()
	first := all[0]
	message, _, _ := strings.Cut(strings.Join(strings.Fields(first.Message), " "), " expecting {")
	message = strings.TrimSuffix(message, " (in container '')")
	where := fmt.Sprintf("column %d", first.Location.Column()+1)
	if strings.Contains(text, "\n") {
		where = fmt.Sprintf("line %d, %s", first.Location.Line(), where)
	}
	return fmt.Errorf("%s of the expression: %s", where, message)
}

// freeNames are the identifiers of an expression that the language does not have.
func freeNames(env *cel.Env, parsed *cel.Ast) []string {
	var all []string
	seen := map[string]bool{}
	celast.PreOrderVisit(parsed.NativeRep().Expr(), celast.NewExprVisitor(func(e celast.Expr) {
		if e.Kind() != celast.IdentKind || seen[e.AsIdent()] {
			return
		}
		name := strings.TrimPrefix(e.AsIdent(), ".")
		seen[e.AsIdent()] = true
		if _, known := env.CELTypeProvider().FindIdent(name); !known && !strings.HasPrefix(name, "@") {
			all = append(all, name)
		}
	}))
	return all
}

// bySize lets functions cost what they return, where CEL itself does not count it.
type bySize struct{}

func (bySize) CallCost(_, _ string, _ []celref.Val, result celref.Val) *uint64 {
	var size uint64
	switch v := result.(type) {
	case types.String:
		size = uint64(len(v)) / 10
	case traits.Lister:
		n, _ := v.Size().(types.Int)
		size = uint64(max(n, 0))
	default:
		return nil
	}
	size++
	return &size
}

// holds tells whether the expression is true of the variables.
func (x expression) holds(variables map[string]any) (bool, error) {
	ctx, cancel := context.WithTimeout(context.Background(), longestEvaluation)
	defer cancel()
	v, _, err := x.program.ContextEval(ctx, variables)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("no end after %s", longestEvaluation)
		}
		return false, fmt.Errorf("%s: %w", x.short(), err)
	}
	if v, ok := v.(types.Bool); ok {
		return bool(v), nil
	}
	return false, fmt.Errorf("%s: %w", x.short(), errors.New("gives a value of type "+v.Type().TypeName()+", not true or false"))
}

// short is the expression in one line, cut where it is long.
func (x expression) short() string {
	line := strings.Join(strings.Fields(x.text), " ")
	if r := []rune(line); len(r) > 120 {
		line = string(r[:120]) + "…"
	}
	return fmt.Sprintf("%q", line)
}
