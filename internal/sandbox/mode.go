package sandbox

import (
	"fmt"

	"github.com/elastic/go-seccomp-bpf"
	landlock "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// Mode is what is done about what the sandbox does not allow.
type Mode string

const (
	// Enforce refuses it.
	Enforce Mode = "enforce"
	// Log has the kernel log it. That is for system calls alone: files are not looked at.
	Log Mode = "log"
	// Off is no sandbox.
	Off Mode = "off"
)

// Set implements pflag.Value.
func (m *Mode) Set(value string) error {
	switch mode := Mode(value); mode {
	case Enforce, Log, Off:
		*m = mode
		return nil
	}
	return fmt.Errorf("want %s, %s or %s", Enforce, Log, Off)
}

// String implements pflag.Value.
func (m *Mode) String() string { return string(*m) }

// Type implements pflag.Value.
func (m *Mode) Type() string { return "MODE" }

// Missing says what of the sandbox this kernel cannot do, a sentence each.
func Missing() []string {
	var missing []string
	switch abi := landlockABI(); {
	case abi == 0:
		missing = append(missing, "no Landlock: processes can open every file that their user can")
	case abi < 4:
		missing = append(missing, "Landlock of this kernel knows no ports: only seccomp keeps processes from listening")
	case abi < 6:
		missing = append(missing, "Landlock of this kernel knows no signals: processes of one user can end each other")
	}
	if !seccomp.Supported() {
		missing = append(missing, "no seccomp: every system call is there")
	}
	return missing
}

// landlockABI is the version of Landlock, 0 if there is none.
func landlockABI() int {
	abi, err := landlock.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return abi
}
