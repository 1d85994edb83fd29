package harness

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Socket is one that listens, or takes datagrams, and whose it is.
type Socket struct {
	// Network is tcp, udp or unix; Address is IP:PORT, or a path ("@..." for an abstract one).
	Network, Address string
	// PIDs are the processes that hold it open, in order.
	PIDs []int
}

// String is for failures.
func (s Socket) String() string { return fmt.Sprintf("%s %s of %v", s.Network, s.Address, s.PIDs) }

// SocketsOf finds every socket by which a stranger could come to these processes, as the kernel knows it.
func SocketsOf(pids []int) ([]Socket, error) {
	found := map[string]*Socket{} // by inode
	for _, pid := range pids {
		held, err := inodesOf(pid)
		if err != nil {
			return nil, err
		}
		for _, table := range []struct {
			file, network string
			read          func(fields []string) (address, inode string, err error)
		}{{"tcp", "tcp", listeningTCP}, {"tcp6", "tcp", listeningTCP}, {"udp", "udp", boundUDP}, {"udp6", "udp", boundUDP}, {"unix", "unix", listeningUnix}} {
			content, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table.file))
			if err != nil {
				return nil, err
			}
			for line := range strings.Lines(string(content)) {
				address, inode, err := table.read(strings.Fields(line))
				if err != nil {
					return nil, fmt.Errorf("cannot read %q: %w", line, err)
				}
				if address == "" || !held[inode] {
					continue
				}
				if found[inode] == nil {
					found[inode] = &Socket{Network: table.network, Address: address}
				}
				found[inode].PIDs = append(found[inode].PIDs, pid)
			}
		}
	}
	var all []Socket
	for _, s := range found {
		slices.Sort(s.PIDs)
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Socket) int { return strings.Compare(a.Network+a.Address, b.Network+b.Address) })
	return all, nil
}

// inodesOf are those of the sockets that a process holds open.
func inodesOf(pid int) (map[string]bool, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	held := map[string]bool{}
	for _, entry := range entries {
		to, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err != nil {
			continue // closed meanwhile
		}
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			held[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return held, nil
}

// See proc_net_tcp in the kernel's documentation: sl, local, remote, state, ..., the inode is the tenth.
const tcpListen = "0A"

func listeningTCP(fields []string) (address, inode string, err error) {
	if len(fields) < 10 || fields[3] != tcpListen {
		return "", "", nil
	}
	address, err = endpoint(fields[1])
	return address, fields[9], err
}

// boundUDP are sockets that have no peer: such a one takes datagrams of anybody.
func boundUDP(fields []string) (address, inode string, err error) {
	if len(fields) < 10 || !strings.HasSuffix(fields[2], ":0000") {
		return "", "", nil
	}
	address, err = endpoint(fields[1])
	return address, fields[9], err
}

// endpoint reads an address of four bytes or four words in the machine's order, and a port.
func endpoint(text string) (string, error) {
	host, port, _ := strings.Cut(text, ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return "", err
	}
	raw, err := hex.DecodeString(host)
	if err != nil {
		return "", err
	}
	for word := raw; len(word) >= 4; word = word[4:] {
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	ip, ok := netip.AddrFromSlice(raw)
	if !ok {
		return "", fmt.Errorf("%q is no address", host)
	}
	return net.JoinHostPort(ip.Unmap().String(), fmt.Sprint(number)), nil
}

// listeningUnix looks at the flag that the kernel calls __SO_ACCEPTCON.
func listeningUnix(fields []string) (address, inode string, err error) {
	const acceptCon = 1 << 16
	if len(fields) < 7 || fields[0] == "Num" {
		return "", "", nil
	}
	flags, err := strconv.ParseUint(fields[3], 16, 32)
	if err != nil || flags&acceptCon == 0 {
		return "", "", err
	}
	if len(fields) < 8 {
		return "(unnamed)", fields[6], nil
	}
	return fields[7], fields[6], nil
}
