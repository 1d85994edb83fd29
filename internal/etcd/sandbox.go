package etcd

import (
	"net/netip"
	"path/filepath"

	"triptych.dev/triptych/internal/sandbox"
)

// enclose takes from this process what etcd does not need: it calls nobody, and its files are in two
// folders. o is complete and checked.
func enclose(o Options) error {
	address, err := netip.ParseAddrPort(o.ClientAddress)
	if err != nil {
		return err
	}
	return sandbox.Enter(o.Sandbox, sandbox.Profile{
		Read: []string{filepath.Dir(o.CAFile)}, Write: []string{o.DataDir},
		Ports: []uint16{address.Port()}, CallsNobody: true, Unix: true, Stores: true,
	})
}
