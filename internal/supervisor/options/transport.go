package options

import "fmt"

// HopTransport is what carries requests from tier to tier on one host. Peers prove who
// they are by the same certificates on either.
type HopTransport string

const (
	// TCP is loopback, under TLS.
	TCP HopTransport = "tcp"
	// Unix are sockets in the data directory, which TLS leaves when it has greeted.
	Unix HopTransport = "unix"
)

// Set implements pflag.Value.
func (t *HopTransport) Set(value string) error {
	switch HopTransport(value) {
	case TCP, Unix:
		*t = HopTransport(value)
		return nil
	}
	return fmt.Errorf("want %s or %s", TCP, Unix)
}

// String implements pflag.Value.
func (t *HopTransport) String() string { return string(*t) }

// Type implements pflag.Value.
func (t *HopTransport) Type() string { return "tcp|unix" }
