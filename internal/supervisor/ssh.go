package supervisor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/sshaccess"
)

// bastionTimeout is how long the bastion is waited for at the start.
const bastionTimeout = 10 * time.Second

// prepareSSH makes core's key where the user names none, and asks the bastion once.
// One that is away is warned of: nodes find the API without it.
func (s *setup) prepareSSH() error {
	a := s.options.SSH()
	if a.User == "" {
		return nil
	}
	if a.KeyFile == "" {
		a.KeyFile = s.pki.SSHKey()
		s.sshKey = a.KeyFile
		made, err := sshaccess.EnsureKey(a.KeyFile)
		if err != nil {
			return process.ConfigurationError{Err: fmt.Errorf("cannot make the key of --ssh-user: %w", err)}
		}
		if err := a.Check(); err != nil {
			return process.ConfigurationError{Err: err}
		}
		if made {
			line, _ := sshaccess.Restricted(a.KeyFile) // just made
			s.told = append(s.told, fmt.Sprintf("ssh: made a key; let it in as %s on every node, by this line in authorized_keys: %s", a.User, line))
		}
	}
	if a.Bastion == "" {
		return nil
	}
	return s.askBastion(a)
}

func (s *setup) askBastion(a *sshaccess.Access) error {
	route := sshaccess.NewRoute(a)
	defer route.Close()
	err := untilSignal(s.signals, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, bastionTimeout)
		defer cancel()
		_, err := route.Bastion(ctx)
		return err
	})
	refused, stranger := (*sshaccess.RefusedError)(nil), (*sshaccess.HostKeyError)(nil)
	switch {
	case err == nil || errors.Is(err, errStopped):
		return err
	case errors.As(err, &refused):
		if line, lineErr := sshaccess.Restricted(a.KeyFile); lineErr == nil {
			err = fmt.Errorf("%w: %s", err, line)
		}
		return process.ConfigurationError{Err: fmt.Errorf("--ssh-bastion=%s: %w", a.Bastion, err)}
	case errors.As(err, &stranger):
		return process.ConfigurationError{Err: fmt.Errorf("--ssh-bastion=%s: %w", a.Bastion, err)}
	}
	s.told = append(s.told, fmt.Sprintf("warning: --ssh-bastion=%s: %v; no node can be reached until it is there", a.Bastion, err))
	return nil
}
