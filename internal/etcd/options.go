package etcd

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"

	"triptych.dev/triptych/internal/sandbox"
)

// Options is what the child is told; the supervisor passes it as Args, and the
// child reads it by AddFlags.
type Options struct {
	// DataDir is etcd's own folder. It is kept across restarts.
	DataDir string
	// ClientAddress is the loopback host:port for clients, from a Reservation.
	ClientAddress string
	// CAFile holds the CAs whose client certificates are accepted; CertFile and
	// KeyFile are shown to clients. PEM.
	CAFile, CertFile, KeyFile string
	// Name is the member's name; "triptych" if empty.
	Name string
	// Lifeline is the number of an inherited descriptor, the read end of a pipe
	// whose end of file means that the supervisor is gone. Zero is none.
	Lifeline int
	// LogLevel is debug, info, warn or error; "info" if empty.
	LogLevel string
	// QuotaBytes is the size of the database at which etcd takes no more
	// writes; 8 GiB, the most that etcd recommends, if zero.
	QuotaBytes int64
	// Sandbox is what is done about what etcd has no need of. It reads the folder of CAFile.
	Sandbox sandbox.Mode
	// SnapshotCount is the number of writes between two snapshots of the raft
	// log; etcd's default if zero.
	SnapshotCount uint64
}

const (
	defaultName       = "triptych"
	defaultLogLevel   = "info"
	defaultQuotaBytes = 8 << 30
)

// AddFlags registers the flags that Args writes.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.DataDir, "data-dir", o.DataDir, "Folder of etcd's data.")
	fs.StringVar(&o.ClientAddress, "client-address", o.ClientAddress, "Loopback host:port to serve clients on.")
	fs.StringVar(&o.CAFile, "trusted-ca-file", o.CAFile, "CAs of the clients.")
	fs.StringVar(&o.CertFile, "cert-file", o.CertFile, "Certificate shown to clients.")
	fs.StringVar(&o.KeyFile, "key-file", o.KeyFile, "Key of --cert-file.")
	fs.StringVar(&o.Name, "name", o.Name, "Name of the member.")
	fs.IntVar(&o.Lifeline, "lifeline", o.Lifeline, "Inherited descriptor that ends with the supervisor; 0 is none.")
	fs.StringVar(&o.LogLevel, "log-level", o.LogLevel, "debug, info, warn or error.")
	fs.Int64Var(&o.QuotaBytes, "quota-backend-bytes", o.QuotaBytes, "Size of the database at which writes are refused.")
	fs.Var(&o.Sandbox, "sandbox", "enforce, log or off.")
	fs.Uint64Var(&o.SnapshotCount, "snapshot-count", o.SnapshotCount, "Writes between two snapshots of the raft log.")
}

// Args is what follows the hidden command in the child's command line. Options
// that are unset are left out.
func (o Options) Args() []string {
	var args []string
	add := func(flag, value, unset string) {
		if value != unset {
			args = append(args, "--"+flag+"="+value)
		}
	}
	add("data-dir", o.DataDir, "")
	add("client-address", o.ClientAddress, "")
	add("trusted-ca-file", o.CAFile, "")
	add("cert-file", o.CertFile, "")
	add("key-file", o.KeyFile, "")
	add("name", o.Name, "")
	add("lifeline", strconv.Itoa(o.Lifeline), "0")
	add("log-level", o.LogLevel, "")
	add("quota-backend-bytes", strconv.FormatInt(o.QuotaBytes, 10), "0")
	add("sandbox", string(o.Sandbox), "")
	add("snapshot-count", strconv.FormatUint(o.SnapshotCount, 10), "0")
	return args
}

// HTTPSocket is the Unix socket on which the child serves /metrics, /health and
// /version, to holders of a client certificate.
func (o Options) HTTPSocket() string { return filepath.Join(o.DataDir, "http.sock") }

func (o *Options) complete() {
	if o.Name == "" {
		o.Name = defaultName
	}
	if o.LogLevel == "" {
		o.LogLevel = defaultLogLevel
	}
	if o.QuotaBytes == 0 {
		o.QuotaBytes = defaultQuotaBytes
	}
}

func (o *Options) validate() error {
	var errs []error
	need := func(flag, value string) {
		if value == "" {
			errs = append(errs, fmt.Errorf("--%s must be set", flag))
		}
	}
	need("data-dir", o.DataDir)
	need("trusted-ca-file", o.CAFile)
	need("cert-file", o.CertFile)
	need("key-file", o.KeyFile)
	if err := checkLoopback(o.ClientAddress); err != nil {
		errs = append(errs, fmt.Errorf("--client-address: %w", err))
	}
	if _, err := zapcore.ParseLevel(o.LogLevel); err != nil {
		errs = append(errs, fmt.Errorf("--log-level: %w", err))
	}
	if o.QuotaBytes < 0 {
		errs = append(errs, errors.New("--quota-backend-bytes must not be negative"))
	}
	return errors.Join(errs...)
}

// checkLoopback keeps etcd, which holds every Secret, off the network even if
// its certificates should leak.
func checkLoopback(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || !ip.IsLoopback() {
		return fmt.Errorf("%q is not a loopback address: use 127.0.0.1 or [::1]", host)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q is not a port number between 1 and 65535", port)
	}
	return nil
}
