package doctor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	certutil "k8s.io/client-go/util/cert"

	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/supervisor/lifecycle"
	"triptych.dev/triptych/internal/tier"
)

// soon is when a certificate is renewed at the next start.
const soon = 30 * 24 * time.Hour

func programs(_ context.Context, p Patient) []Finding {
	var all []Finding
	for _, name := range tier.Order {
		path := filepath.Join(p.Programs, string(name))
		info, err := os.Stat(path)
		switch {
		case err != nil:
			all = append(all, problem("programs", "install it there, or name its folder by --bin-dir", "cannot find the program of %s: %v", name, err))
		case info.IsDir() || info.Mode().Perm()&0o111 == 0:
			all = append(all, problem("programs", "chmod 755 "+path, "%s is not an executable file", path))
		}
	}
	if len(all) == 0 {
		all = append(all, ok("programs", "all are in %s", p.Programs))
	}
	return all
}

// ports tries to listen, unless a supervisor does.
func ports(ctx context.Context, p Patient) []Finding {
	if p.Status != nil {
		return []Finding{ok("ports", "the supervisor that runs has them")}
	}
	o := p.Options
	listens := map[string]string{}
	if o.SecurePort != 0 {
		listens[net.JoinHostPort(o.BindAddress.String(), strconv.Itoa(o.SecurePort))] = "--secure-port"
	}
	if o.InsecurePort != 0 {
		listens[net.JoinHostPort(o.InsecureBindAddress.String(), strconv.Itoa(o.InsecurePort))] = "--insecure-port"
	}
	if o.MetricsBindAddress != "" {
		listens[o.MetricsBindAddress] = "--metrics-bind-address"
	}
	for name, at := range o.TierListen {
		listens[at.String()] = "--tier-listen " + string(name)
	}
	var all []Finding
	for address, flag := range listens {
		config := net.ListenConfig{}
		config.SetMultipathTCP(false)
		l, err := config.Listen(ctx, "tcp", address)
		switch {
		case err == nil:
			l.Close()
			all = append(all, ok("ports", "%s is free", address))
		case errors.Is(err, syscall.EADDRINUSE):
			all = append(all, problem("ports", "stop who has it (ss -ltnp), or choose another "+flag, "%s is taken", address))
		case errors.Is(err, syscall.EACCES):
			all = append(all, problem("ports", "choose one above 1023 by "+flag+", or run as root", "%s is for root alone", address))
		default:
			all = append(all, problem("ports", "give an address of this machine by "+flag, "cannot listen on %s: %v", address, err))
		}
	}
	slices.SortFunc(all, func(a, b Finding) int { return strings.Compare(a.Says, b.Says) })
	return all
}

// certificates looks at those of the data directory and of flags.
func certificates(_ context.Context, p Patient) []Finding {
	var files []string
	_ = filepath.WalkDir(p.Dir.PKI(), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".crt" {
			files = append(files, path)
		}
		return nil
	})
	for _, flag := range []string{"tls-cert-file", "client-ca-file", "requestheader-client-ca-file"} {
		if file := p.Options.Forwarded.Last(flag); file != "" {
			files = append(files, file)
		}
	}
	for _, file := range []string{p.Options.EtcdCAFile, p.Options.EtcdCertFile} {
		if file != "" {
			files = append(files, file)
		}
	}
	if len(files) == 0 {
		return []Finding{ok("certificates", "there are none yet: the first start makes them")}
	}
	var all []Finding
	first, now := time.Time{}, time.Now()
	for _, file := range files {
		certs, err := certutil.CertsFromFile(file)
		if err != nil {
			all = append(all, problem("certificates", "put back the file from a backup, or remove it with its key so that the next start makes another, if it is no CA", "cannot read %s: %v", file, err))
			continue
		}
		for _, c := range certs {
			remedy := "renew it where it comes from"
			if strings.HasPrefix(file, p.Dir.Root) {
				remedy = "start the supervisor again, which renews all but CAs"
			}
			// What lives for a day is renewed in time, or not, when a third of that is left.
			late := min(soon, c.NotAfter.Sub(c.NotBefore)/4)
			switch left := c.NotAfter.Sub(now); {
			case left <= 0:
				all = append(all, problem("certificates", remedy, "%s has run out on %s", file, c.NotAfter.Format(time.DateOnly)))
			case now.Before(c.NotBefore):
				all = append(all, problem("certificates", "set the clock of this machine", "%s is not valid before %s: this clock is behind", file, c.NotBefore.Format(time.RFC3339)))
			case left < late:
				all = append(all, warning("certificates", remedy, "%s runs out on %s", file, c.NotAfter.Format(time.DateOnly)))
			}
			if first.IsZero() || c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
	}
	if len(all) == 0 {
		all = append(all, ok("certificates", "%d files, the first runs out on %s", len(files), first.Format(time.DateOnly)))
	}
	return all
}

// modes looks for keys that others can read.
func modes(_ context.Context, p Patient) []Finding {
	var all []Finding
	looked := 0
	look := func(path string) {
		info, err := os.Stat(path)
		if err != nil {
			return
		}
		looked++
		if others := info.Mode().Perm() & 0o077; others != 0 && !info.IsDir() {
			all = append(all, problem("modes", "chmod 600 "+path+", and make the key anew if somebody may have read it", "%s can be read or written by others: mode %04o", path, info.Mode().Perm()))
		}
	}
	_ = filepath.WalkDir(p.Dir.PKI(), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".key" {
			look(path)
		}
		return nil
	})
	look(p.Dir.Kubeconfig())
	if info, err := os.Stat(p.Dir.Etcd()); err == nil && info.Mode().Perm()&0o066 != 0 {
		all = append(all, problem("modes", "chmod 700 "+p.Dir.Etcd(), "the folder of etcd's data is open to others: mode %04o", info.Mode().Perm()))
	}
	if len(all) == 0 {
		all = append(all, ok("modes", "%d keys are their owner's alone", looked))
	}
	return all
}

// etcds asks an etcd of the user's; of our own the supervisor knows.
func etcds(ctx context.Context, p Patient) []Finding {
	o := p.Options
	if len(o.EtcdServers) == 0 {
		switch {
		case p.Status == nil:
			return []Finding{ok("etcd", "it starts with the supervisor")}
		case p.Status.Etcd.Problem != "":
			return []Finding{problem("etcd", "see supervisor logs etcd, and docs/how-to/mend.md", "%s", p.Status.Etcd.Problem)}
		}
		return []Finding{ok("etcd", "it runs, pid %d", p.Status.Etcd.PID)}
	}
	remotes := []etcd.Remote{{Servers: o.EtcdServers, CAFile: o.EtcdCAFile, CertFile: o.EtcdCertFile, KeyFile: o.EtcdKeyFile, FlagPrefix: "etcd"}}
	if own := o.ExtensionsEtcd; len(own.Servers) > 0 {
		remotes = append(remotes, etcd.Remote{Servers: own.Servers, CAFile: own.CAFile, CertFile: own.CertFile, KeyFile: own.KeyFile, FlagPrefix: "extensions-etcd"})
	}
	var all []Finding
	for _, r := range remotes {
		if err := r.Reach(ctx); err != nil {
			all = append(all, problem("etcd", "see that it runs and has a majority (etcdctl endpoint health --cluster), and that --"+r.FlagPrefix+"-servers and its certificates are right", "%v", err))
		} else {
			all = append(all, ok("etcd", "%s answers", strings.Join(r.Servers, ",")))
		}
	}
	return all
}

func running(_ context.Context, p Patient) []Finding {
	switch {
	case p.Status == nil:
		return []Finding{ok("supervisor", "none runs on %s", p.Dir.Root)}
	case p.Status.Phase != string(lifecycle.PhaseReady):
		return []Finding{warning("supervisor", "see supervisor status -o wide and supervisor events", "the phase is %s", p.Status.Phase)}
	}
	return []Finding{ok("supervisor", "the phase is %s", p.Status.Phase)}
}
