package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"

	"triptych.dev/triptych/internal/auditlog"
	"triptych.dev/triptych/internal/datadir"
	"triptych.dev/triptych/internal/etcd"
	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor/child"
	"triptych.dev/triptych/internal/supervisor/confine"
	"triptych.dev/triptych/internal/supervisor/options"
	"triptych.dev/triptych/internal/tier"
	"triptych.dev/triptych/internal/wiring"
)

// setup is everything that must be in place before the first child starts. It
// is made step by step; close undoes the steps that were made, last one first.
type setup struct {
	options *options.Options
	// head is the tier with the secure port.
	head     tier.Name
	programs map[tier.Name]string
	// executable is the supervisor's own program, which is etcd's too.
	executable string
	environ    []string
	signals    <-chan os.Signal

	dir         datadir.Dir
	sockets     *sockets
	plain       net.Listener // of the insecure port, nil if there is none
	pki         pki.Paths
	report      *pki.Report
	advertise   net.IP
	url         string
	etcdAddress string                      // empty with an etcd of the user's
	own         atomic.Pointer[wiring.Etcd] // the etcd of extensions alone; nil if there is none
	forker      *child.Forker
	host        *confine.Host
	logs        map[string]*child.Log
	auditLog    *auditlog.Log // nil if there is none
	sshKey      string        // made by us; empty without SSH, and with a key of the user's
	told        []string      // more lines of the summary

	undo []func()
}

// errStopped: told to stop before there was anything to stop.
var errStopped = errors.New("told to stop")

// prepare makes a setup, or an error and nothing.
func prepare(o *options.Options, e Environment) (*setup, error) {
	s := &setup{
		options: o, head: o.Head(e.Environ), executable: e.Executable,
		environ: child.Environment(e.Environ), signals: e.Signals, logs: map[string]*child.Log{},
	}
	if len(o.ExtensionsEtcd.Servers) > 0 {
		s.own.Store(&o.ExtensionsEtcd)
	}
	steps := []func() error{s.findPrograms, s.openDir, s.listen, s.listenPlain, s.ensurePKI, s.prepareSSH, s.reserveEtcd, s.reachEtcd, s.writeWiring, s.openLogs, s.openAuditLog}
	for _, step := range steps {
		if err := step(); err != nil {
			s.close()
			return nil, err
		}
	}
	s.host = confine.NewHost()
	s.forker = child.NewForker()
	s.undo = append(s.undo, s.forker.Close)
	return s, nil
}

func (s *setup) close() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i]()
	}
	s.undo = nil
}

func (s *setup) embedded() bool { return len(s.options.EtcdServers) == 0 }

func (s *setup) findPrograms() (err error) {
	if s.programs, err = programs(s.head, s.options.BinDir, s.executable); err != nil {
		return process.ConfigurationError{Err: err}
	}
	return nil
}

// openDir takes the lock, so that nothing after it can touch what another
// supervisor uses.
func (s *setup) openDir() error {
	h, err := datadir.Open(s.options.DataDir)
	if locked := (*datadir.LockedError)(nil); err != nil && !errors.As(err, &locked) {
		return process.ConfigurationError{Err: err}
	}
	if err != nil {
		return err
	}
	s.dir, s.pki = h.Dir, pki.Paths{Dir: h.Dir}
	s.undo = append(s.undo, func() { h.Close() })
	return nil
}

func (s *setup) listen() (err error) {
	if s.sockets, err = listenAll(s.options, s.head); err != nil {
		return err
	}
	s.undo = append(s.undo, s.sockets.close)
	s.url = serverURL(s.options, s.sockets.public.address.Port)
	s.advertise, err = advertised(s.options)
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	return nil
}

func (s *setup) ensurePKI() (err error) {
	o, err := s.pkiOptions()
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	if s.report, err = pki.Ensure(o); err != nil {
		return process.ConfigurationError{Err: err}
	}
	if err := pki.WriteAdminKubeconfig(o, s.url); err != nil {
		return process.ConfigurationError{Err: err}
	}
	return nil
}

func (s *setup) reserveEtcd() error {
	if !s.embedded() {
		return nil
	}
	r, err := etcd.Reserve("127.0.0.1")
	if err != nil {
		return err
	}
	s.etcdAddress = r.Address()
	s.undo = append(s.undo, func() { r.Close() })
	return nil
}

// reachEtcd finds out about an etcd of the user's before three tiers do, each in
// its own words and after a long wait. One that is behind an egress proxy of the
// tiers is left to them.
func (s *setup) reachEtcd() error {
	if s.options.Forwarded.Given("egress-selector-config-file") {
		return nil
	}
	var yours []etcd.Remote
	if !s.embedded() {
		yours = append(yours, remote("etcd", s.mainEtcd(tier.Core)))
	}
	if own := s.own.Load(); own != nil {
		yours = append(yours, remote("extensions-etcd", *own))
	}
	for _, r := range yours {
		if err := untilSignal(s.signals, r.Reach); err != nil {
			return err
		}
	}
	return nil
}

// remote is an etcd whose flags begin with prefix.
func remote(prefix string, e wiring.Etcd) etcd.Remote {
	return etcd.Remote{Servers: e.Servers, CAFile: e.CAFile, CertFile: e.CertFile, KeyFile: e.KeyFile, FlagPrefix: prefix}
}

// untilSignal is for a wait before anybody else reads the signals. The one that
// cuts it short is spent: the caller must stop. All others are left.
func untilSignal(signals <-chan os.Signal, wait func(context.Context) error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	waited := make(chan error, 1)
	go func() { waited <- wait(ctx) }()
	select {
	case err := <-waited:
		return err
	case <-signals:
		cancel()
		<-waited
		return errStopped
	}
}

// writeWiring tells every replica where all others are, in the files that its next
// process reads, and its present one when it is told to.
func (s *setup) writeWiring() error {
	all := s.sockets.endpoints()
	for _, name := range tier.UpTo(s.head) {
		for _, at := range all[name] {
			w := s.wiring(name, at.Replica)
			w.Tiers = all
			data, err := json.MarshalIndent(w, "", "  ")
			if err != nil {
				return fmt.Errorf("cannot write the wiring of %s: %w", at.Replica, err)
			}
			if err := datadir.WriteFile(s.dir.Wiring(at.Replica), append(data, '\n'), 0o600); err != nil {
				return fmt.Errorf("cannot write the wiring of %s: %w", at.Replica, err)
			}
		}
	}
	return nil
}

func (s *setup) wiring(name tier.Name, replica string) wiring.Wiring {
	var main *wiring.Etcd
	if name == tier.Extensions && s.own.Load() != nil {
		e := s.mainEtcd(name)
		main = &e
	}
	return wiring.Wiring{
		MainEtcd:      main,
		Tier:          name,
		Replica:       replica,
		Head:          s.head,
		Listen:        s.sockets.listen(name, child.FirstFD),
		Lifeline:      child.LifelineFD,
		AuditLog:      s.auditLogFD(name),
		PKI:           s.pki.Internal(name),
		PublicAddress: s.publicAddress(),
	}
}

func (s *setup) openLogs() error {
	for _, row := range rows(s.embedded(), s.head) {
		log := child.OpenLog(s.dir.LogFile(row.name))
		s.logs[row.name] = log
		s.undo = append(s.undo, func() { log.Close() })
	}
	return nil
}

// log returns where a replica's processes write: all of a tier write one file.
func (s *setup) log(name, replica string) *child.Log {
	log := s.logs[name].Another()
	if s.options.Logs().JSON {
		log.Label(name, replica)
	}
	return log
}

// summary tells what was made, without a line for each of many files.
func (s *setup) summary() []string {
	var lines []string
	if n := len(s.report.Created); n > 0 {
		lines = append(lines, fmt.Sprintf("pki: created %d files in %s", n, s.dir.PKI()))
	}
	for _, r := range s.report.Renewed {
		lines = append(lines, "pki: renewed "+strings.TrimPrefix(r.File, s.dir.Root+string(os.PathSeparator))+": "+r.Reason)
	}
	if s.head == tier.Core {
		lines = append(lines, "direct mode: core is the head, there is no aggregator and no APIService")
	}
	if s.advertise.IsLoopback() {
		lines = append(lines, "warning: this machine has no address but loopback: the kubernetes Service gets no endpoint, so pods will not find the API")
	}
	if s.plain != nil {
		lines = append(lines, fmt.Sprintf("warning: --insecure-port makes everybody who can connect to %s an administrator", s.plain.Addr()))
	}
	for _, w := range s.report.Warnings {
		lines = append(lines, "warning: "+w)
	}
	return append(lines, s.told...)
}
