package options

import (
	"fmt"
	"strconv"

	"triptych.dev/triptych/internal/sshaccess"
)

// SSH returns how the user wants nodes to be reached: a key file that is not given
// is empty.
func (o *Options) SSH() *sshaccess.Access {
	f := o.Forwarded
	a := &sshaccess.Access{
		User: f.Last("ssh-user"), KeyFile: f.Last("ssh-keyfile"), KnownHostsFile: f.Last("ssh-known-hosts"),
		Bastion: f.Last("ssh-bastion"), Port: sshaccess.DefaultPort,
	}
	if port := f.Last("ssh-port"); port != "" {
		a.Port, _ = strconv.Atoi(port)
	}
	return a
}

// checkSSH refuses what could reach no node. A key that is not named is made later.
func (o *Options) checkSSH() error {
	port := o.Forwarded.Last("ssh-port")
	if _, err := strconv.Atoi(port); port != "" && err != nil {
		return fmt.Errorf("--ssh-port=%s is no port: want 1 to 65535", port)
	}
	a := o.SSH()
	if a.KeyFile == "" {
		return a.CheckButKey()
	}
	return a.Check()
}
