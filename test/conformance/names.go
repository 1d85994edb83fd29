package conformance

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	//go:embed names.txt
	namesFile string
	//go:embed slow.txt
	slowFile string

	allNames = lines(namesFile)
	// slowNames wait for a minute or more, whatever the server: for the next run of a CronJob, for a quota to be
	// counted again, or to see that nothing happens.
	slowNames = lines(slowFile)
)

func lines(text string) []string {
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

// choose returns the names of a set, all or ci, that match focus.
func choose(set, focus string) ([]string, error) {
	names := slices.Clone(allNames)
	switch set {
	case "all":
	case "ci":
		names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(slowNames, name) })
	default:
		return nil, fmt.Errorf("-names=%s: say ci or all", set)
	}
	re, err := regexp.Compile(focus)
	if err != nil {
		return nil, fmt.Errorf("-focus=%s: %w", focus, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !re.MatchString(name) })
	if len(names) == 0 {
		return nil, fmt.Errorf("-focus=%s: no name of the set %s matches", focus, set)
	}
	return names, nil
}
