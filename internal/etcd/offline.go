package etcd

import (
	"context"
	"crypto/tls"
	"errors"
)

// Offline starts the etcd of o in this process, has do speak to it as the holder of
// cfg, and stops it. Nobody else may have the data open.
func Offline(ctx context.Context, o Options, cfg *tls.Config, do func(context.Context, *Client) error) error {
	reserved, err := Reserve("127.0.0.1")
	if err != nil {
		return err
	}
	defer reserved.Close()
	o.ClientAddress, o.LogLevel = reserved.Address(), "panic" // what fails is returned
	running, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- Run(running, o); stop() }()
	client, err := Dial(o.ClientAddress, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	err = WaitHealthy(running, o.ClientAddress, cfg)
	if alarm := (&AlarmError{}); err == nil || errors.As(err, &alarm) && !alarm.Corrupt {
		err = do(running, client)
	}
	stop()
	if failed := <-ended; failed != nil {
		return failed
	}
	return err
}
