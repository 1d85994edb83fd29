// Package watching knows which metrics the alerts and the dashboard in deploy/ ask for.
package watching

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// Expression is one that Prometheus is asked to evaluate.
type Expression struct {
	// Where it stands: the name of an alert, or of a panel.
	Where, Text string
}

var queries = parser.NewParser(parser.Options{})

// Rules reads the alerts in deploy/prometheus as Prometheus does.
func Rules(deploy string) (*rulefmt.RuleGroups, error) {
	file := filepath.Join(deploy, "prometheus", "rules.yaml")
	groups, errs := rulefmt.ParseFile(file, false, model.UTF8Validation, queries, slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		return nil, fmt.Errorf("%s: %v", file, errs)
	}
	return groups, nil
}

// Expressions are those of all alerts and panels.
func Expressions(deploy string) (all []Expression, err error) {
	groups, err := Rules(deploy)
	if err != nil {
		return nil, err
	}
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			all = append(all, Expression{rule.Alert, rule.Expr})
		}
	}
	dashboard, err := Dashboard(deploy)
	if err != nil {
		return nil, err
	}
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			all = append(all, Expression{panel.Title, target.Expr})
		}
	}
	return all, nil
}

// Panels is a dashboard of Grafana, as far as it is looked at.
type Panels struct {
	Title      string  `json:"title"`
	UID        string  `json:"uid"`
	Panels     []Panel `json:"panels"`
	Templating struct {
		List []struct {
			Name string `json:"name"`
			Type string `json:"type"`
		} `json:"list"`
	} `json:"templating"`
}

// Panel is one graph, or a row of them.
type Panel struct {
	ID         int                      `json:"id"`
	Type       string                   `json:"type"`
	Title      string                   `json:"title"`
	Datasource struct{ UID string }     `json:"datasource"`
	GridPos    struct{ X, Y, W, H int } `json:"gridPos"`
	Targets    []struct {
		RefID string `json:"refId"`
		Expr  string `json:"expr"`
	} `json:"targets"`
}

// Dashboard reads deploy/grafana.
func Dashboard(deploy string) (*Panels, error) {
	data, err := os.ReadFile(filepath.Join(deploy, "grafana", "triptych.json"))
	if err != nil {
		return nil, err
	}
	p := &Panels{}
	return p, json.Unmarshal(data, p)
}

// Selectors are the series that an expression asks for.
func Selectors(e Expression) (selectors []*parser.VectorSelector, err error) {
	parsed, err := queries.ParseExpr(e.Text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Where, err)
	}
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			selectors = append(selectors, s)
		}
		return nil
	})
	return selectors, nil
}

var (
	family     = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)
	documented = regexp.MustCompile("(?m)^\\| `(triptych_\\w+)` \\| ([^|]*)\\|")
)

// Missing tells what the expressions ask for that neither is in the exposition of a control
// plane that runs, nor documented as a metric of ours that it may have. Of those that have
// series, labels are looked for too.
func Missing(deploy, exposition, document string) (missing []string, err error) {
	expressions, err := Expressions(deploy)
	if err != nil {
		return nil, err
	}
	types := map[string]string{}
	for _, match := range family.FindAllStringSubmatch(exposition, -1) {
		types[match[1]] = match[2]
	}
	labels := map[string]string{}
	for _, match := range documented.FindAllStringSubmatch(document, -1) {
		labels[match[1]] = match[2]
	}
	for _, e := range expressions {
		selectors, err := Selectors(e)
		if err != nil {
			return nil, err
		}
		for _, s := range selectors {
			name := familyOf(s.Name, types)
			_, isDocumented := labels[name]
			if types[name] == "" && !isDocumented {
				missing = append(missing, fmt.Sprintf("%s: there is no metric %s", e.Where, s.Name))
				continue
			}
			for _, m := range s.LabelMatchers {
				inExposition := regexp.MustCompile(`(?m)^` + name + `\w*\{[^}]*\b` + m.Name + `="`).MatchString(exposition)
				if m.Name != "__name__" && !inExposition && !strings.Contains(labels[name], "`"+m.Name+"`") {
					missing = append(missing, fmt.Sprintf("%s: %s has no label %s", e.Where, name, m.Name))
				}
			}
		}
	}
	return missing, nil
}

// familyOf is the family that a series belongs to: those of histograms have endings.
func familyOf(series string, types map[string]string) string {
	for _, ending := range []string{"_bucket", "_count", "_sum"} {
		if name, ok := strings.CutSuffix(series, ending); ok && (types[name] == "histogram" || types[name] == "summary" || types[series] == "") {
			return name
		}
	}
	return series
}
