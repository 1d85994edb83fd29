package users

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// needed is what it takes to start, stop and feed processes of other users.
var needed = map[int]string{
	unix.CAP_SETUID: "CAP_SETUID", unix.CAP_SETGID: "CAP_SETGID", unix.CAP_CHOWN: "CAP_CHOWN", unix.CAP_KILL: "CAP_KILL",
	unix.CAP_SETPCAP: "CAP_SETPCAP", unix.CAP_DAC_OVERRIDE: "CAP_DAC_OVERRIDE",
}

// CheckRights returns an error if this process, which is root, cannot have processes of other users.
func CheckRights() error {
	header, sets := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("cannot see which capabilities the supervisor has: %w", err)
	}
	var lacks []string
	for c := range unix.CAP_LAST_CAP + 1 {
		if name := needed[c]; name != "" && sets[c/32].Effective&(1<<(c%32)) == 0 {
			lacks = append(lacks, name)
		}
	}
	if lacks != nil {
		return fmt.Errorf("the supervisor is root without %s, so processes cannot be users of their own: let it have that, or have all run as root by --user-range=off", strings.Join(lacks, ", "))
	}
	return nil
}
