package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

var (
	released  = regexp.MustCompile(`^v?(\d+(?:\.\d+)*)(?:-((?:alpha|beta|rc)[0-9A-Za-z.]*))?$`)
	described = regexp.MustCompile(`^v?(\d+(?:\.\d+)*)(?:-((?:alpha|beta|rc)[0-9A-Za-z.]*))?-(\d+)-g([0-9a-f]{7,40})$`)
	commit    = regexp.MustCompile(`^[0-9a-f]{7,40}$`)
)

// packaged makes a version that dpkg and rpm order as time does out of one of git describe: a
// release candidate comes before its release, what follows a release comes after it, and a
// commit without any tag before all of them, by its date.
func packaged(version string, date time.Time) (string, error) {
	version, dirty := strings.CutSuffix(version, "-dirty")
	suffix := ""
	if dirty {
		suffix = "dirty"
	}
	join := func(parts ...string) string {
		return strings.Join(strings.FieldsFunc(strings.Join(append(parts, suffix), "."), func(r rune) bool { return r == '.' }), ".")
	}
	before := func(candidate string) string {
		if candidate == "" {
			return ""
		}
		return "~" + candidate
	}
	if m := released.FindStringSubmatch(version); m != nil {
		if dirty {
			return m[1] + before(m[2]) + "+dirty", nil
		}
		return m[1] + before(m[2]), nil
	}
	if m := described.FindStringSubmatch(version); m != nil {
		return m[1] + before(m[2]) + "+" + join(m[3], "g"+m[4]), nil
	}
	if commit.MatchString(version) {
		return "0~" + join(date.UTC().Format("20060102150405"), "g"+version), nil
	}
	return "", fmt.Errorf("%q is no version: want one such as 1.2.3, 1.2.3-rc.1, or what git describe prints", version)
}
