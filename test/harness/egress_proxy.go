package harness

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"google.golang.org/grpc/peer"
	konnectivity "sigs.k8s.io/apiserver-network-proxy/konnectivity-client/proto/client"
)

func (e *Egress) accept(egress string, l net.Listener) {
	e.hold(l)
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		e.hold(conn)
		go e.connect(egress, conn)
	}
}

// connect serves one CONNECT.
func (e *Egress) connect(egress string, conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	by := conn.RemoteAddr().String()
	if secure, ok := conn.(*tls.Conn); ok {
		by = secure.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	target, err := e.reach(egress, by, r.RequestURI)
	if err != nil || r.Method != http.MethodConnect {
		fmt.Fprintf(conn, "HTTP/1.1 502 %v\r\nContent-Length: 0\r\n\r\n", err)
		return
	}
	defer target.Close()
	io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	// API servers expect to speak first.
	if _, err := in.Peek(1); err != nil {
		return
	}
	go func() {
		defer target.Close()
		io.Copy(target, in)
	}()
	io.Copy(conn, target)
}

type konnectivityOf struct {
	*Egress
	name string
}

// Proxy implements konnectivity's service: one connection a stream.
func (e konnectivityOf) Proxy(stream konnectivity.ProxyService_ProxyServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	who, _ := peer.FromContext(stream.Context())
	asked, said := first.GetDialRequest(), &konnectivity.DialResponse{Random: first.GetDialRequest().GetRandom(), ConnectID: 1}
	target, err := e.reach(e.name, who.Addr.String(), asked.GetAddress())
	if err != nil {
		said.Error = err.Error()
	} else {
		defer target.Close()
	}
	answer := &konnectivity.Packet{Type: konnectivity.PacketType_DIAL_RSP, Payload: &konnectivity.Packet_DialResponse{DialResponse: said}}
	if sent := stream.Send(answer); sent != nil || err != nil {
		return sent
	}
	packet, err := stream.Recv() // they expect to speak first
	go func() {
		defer target.Close()
		for ; err == nil && packet.GetType() == konnectivity.PacketType_DATA; packet, err = stream.Recv() {
			if _, err := target.Write(packet.GetData().GetData()); err != nil {
				return
			}
		}
	}()
	for buffer := make([]byte, 32<<10); ; {
		n, err := target.Read(buffer)
		if err != nil {
			return stream.Send(&konnectivity.Packet{Type: konnectivity.PacketType_CLOSE_RSP, Payload: &konnectivity.Packet_CloseResponse{
				CloseResponse: &konnectivity.CloseResponse{ConnectID: 1}}})
		}
		if err := stream.Send(&konnectivity.Packet{Type: konnectivity.PacketType_DATA, Payload: &konnectivity.Packet_Data{
			Data: &konnectivity.Data{ConnectID: 1, Data: buffer[:n]}}}); err != nil {
			return err
		}
	}
}

// known is a listener on a Unix socket whose connections have the program of the
// process at the other end for their address.
type known struct{ net.Listener }

// Accept implements net.Listener.
func (l known) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *syscall.Ucred
	if failed := raw.Control(func(fd uintptr) {
		peer, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	// The name that it was run by: tiers are one file.
	program, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", peer.Pid))
	return named{conn, strings.TrimSpace(string(program))}, err
}

type named struct {
	net.Conn
	program string
}

// RemoteAddr implements net.Conn.
func (c named) RemoteAddr() net.Addr { return &net.UnixAddr{Name: c.program, Net: "unix"} }
