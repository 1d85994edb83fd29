package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"triptych.dev/triptych/internal/control"
	"triptych.dev/triptych/internal/invitation"
	"triptych.dev/triptych/internal/pki"
)

const (
	// joinedFolder holds files of flags on a host that has joined, below its data
	// directory; JoinedConfig is its configuration.
	joinedFolder = "joined"
	// JoinedConfig is the configuration of a host that has joined, below its data
	// directory.
	JoinedConfig = "joined/supervisor.yaml"
	// MaxInvitation is how long an invitation may last.
	MaxInvitation = 24 * time.Hour
)

// Invite implements control.Supervisor: it serves, once and for no longer than ttl, what
// another host needs to serve the same cluster, at address or, if that is empty, at a
// free port of the advertised address.
func (v *Supervisor) Invite(ctx context.Context, address string, ttl time.Duration) (control.Invitation, error) {
	s := v.setup
	switch {
	case s.embedded():
		return control.Invitation{}, errors.New("the supervisor runs an etcd of its own, which no other host can use: a cluster of several hosts needs --etcd-servers")
	case ttl <= 0 || ttl > MaxInvitation:
		return control.Invitation{}, fmt.Errorf("a token for %s is refused: want more than 0 and at most %s", ttl, MaxInvitation)
	case address == "" && s.advertise.IsLoopback():
		return control.Invitation{}, errors.New("this machine has no address but loopback: say by --listen where the other host reaches it")
	case address == "":
		address = net.JoinHostPort(s.advertise.String(), "0")
	}
	l, err := listenTCP(address, nil)
	if err != nil {
		return control.Invitation{}, fmt.Errorf("cannot listen for the host that joins: %w", err)
	}
	host, err := invitation.NewHost(l, ttl, s.bundle)
	if err != nil {
		l.Close()
		return control.Invitation{}, err
	}
	v.print.Say("join: a token was made, for %s", host.Token.Address)
	go v.invited(host)
	return control.Invitation{Token: host.Token.String(), Address: host.Token.Address, Expires: host.Token.Expires}, nil
}

// invited serves an invitation to its end, which is that of the supervisor at the latest.
func (v *Supervisor) invited(host *invitation.Host) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-v.chain.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	v.print.Say("join: the token for %s: %s", host.Token.Address, host.Serve(ctx))
}

// bundle is what all hosts of a cluster have in common: CAs, keys that sign, the
// configuration and what it names.
func (s *setup) bundle() (*invitation.Bundle, error) {
	b := &invitation.Bundle{}
	for _, path := range (pki.Paths{Dir: s.dir}).Shared() {
		relative, err := filepath.Rel(s.dir.Root, path)
		if err != nil {
			return nil, err
		}
		err = b.Add(filepath.ToSlash(relative), path, strings.HasSuffix(path, ".crt") || strings.HasSuffix(path, ".pub"))
		if errors.Is(err, os.ErrNotExist) {
			continue // the user's own are among the files of flags, or a CA's key is elsewhere
		}
		if err != nil {
			return nil, err
		}
	}
	config, files, err := s.options.Shared(invitation.DataDir + "/" + joinedFolder)
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := b.Add(joinedFolder+"/"+f.Name, f.Path, false); err != nil {
			return nil, err
		}
	}
	b.Files = append(b.Files, invitation.File{Path: JoinedConfig, Data: config})
	return b, nil
}
