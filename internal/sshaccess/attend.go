package sshaccess

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// A connection that has died without a sign is noticed within both together.
const (
	keepaliveEvery  = 10 * time.Second
	keepaliveAnswer = 5 * time.Second
)

// Attend asks the server for signs of life and returns when there are none, when
// the connection has ended, or when ctx has. The connection is closed then.
func Attend(ctx context.Context, client *ssh.Client) error {
	ended := make(chan error, 1)
	go func() { ended <- client.Wait() }()
	defer client.Close()
	tick := time.NewTicker(keepaliveEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return fmt.Errorf("the connection has ended: %w", err)
		case <-tick.C:
			if err := askPatiently(ctx, client); err != nil {
				return err
			}
		}
	}
}

func askPatiently(ctx context.Context, client *ssh.Client) error {
	patient, cancel := context.WithTimeout(ctx, keepaliveAnswer)
	defer cancel()
	if err := Ask(patient, client); ctx.Err() == nil {
		return err
	}
	return ctx.Err()
}

// Ask returns nil when the server gives a sign of life before ctx ends. It sends what
// OpenSSH sends: any answer will do, a refusal too.
func Ask(ctx context.Context, client *ssh.Client) error {
	answered := make(chan error, 1)
	go func() {
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		answered <- err
	}()
	select {
	case err := <-answered:
		return err
	case <-ctx.Done():
		return errors.New("the server does not answer any more")
	}
}
