package harness

import (
	"fmt"
	"strings"
)

// ByManager compares managedFields, which come in the order of the seconds they were
// written in, and finds all else equal.
func ByManager(x, y any) int {
	key := func(entry any) string {
		of, _ := entry.(map[string]any)
		if of["fieldsType"] == nil {
			return ""
		}
		return fmt.Sprint(of["manager"], of["operation"], of["subresource"])
	}
	return strings.Compare(key(x), key(y))
}
