package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// Ports that FreePort hands out: below those that Linux gives to connections
// and to whoever listens on port 0 (32768 and on, ip_local_port_range), above
// those that programs are known by.
const (
	firstPort = 20000
	ports     = 12768
)

// FreePort returns a port on loopback that was free a moment ago. Whoever else
// runs meanwhile does not get it by chance from the system, only another call of
// this one in a great many.
func FreePort() (int, error) {
	for range 100 {
		port := firstPort + rand.IntN(ports)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			return 0, err
		}
		return port, l.Close()
	}
	return 0, errors.New("no port is free on loopback")
}
