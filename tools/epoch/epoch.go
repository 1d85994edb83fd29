// Package epoch is the time that everything in a release has, so that equal sources give equal
// bytes.
package epoch

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

// Time is SOURCE_DATE_EPOCH of the environment, in seconds since 1970, or 1970 if it is not set.
func Time() (time.Time, error) {
	value := os.Getenv("SOURCE_DATE_EPOCH")
	if value == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s is no number of seconds since 1970", value)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
