package supervisor

import (
	"fmt"
	"strconv"

	"triptych.dev/triptych/internal/auditlog"
	"triptych.dev/triptych/internal/flagtable"
	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/supervisor/child"
	"triptych.dev/triptych/internal/tier"
)

const auditLogPath = "audit-log-path"

// openAuditLog opens the one log of all tiers, if there is to be one.
func (s *setup) openAuditLog() error {
	o, err := s.auditLogOptions()
	if err != nil {
		return process.ConfigurationError{Err: err}
	}
	if o.Path == "" {
		return nil
	}
	if s.auditLog, err = auditlog.Open(o); err != nil {
		return process.ConfigurationError{Err: fmt.Errorf("cannot write --%s: %w", auditLogPath, err)}
	}
	s.undo = append(s.undo, func() { s.auditLog.Close() })
	return nil
}

func (s *setup) auditLogOptions() (auditlog.Options, error) {
	f := s.options.Forwarded
	o := auditlog.Options{Path: f.Last(auditLogPath), Compress: f.True("audit-log-compress")}
	for flag, n := range map[string]*int{"audit-log-maxage": &o.MaxAge, "audit-log-maxbackup": &o.MaxBackups, "audit-log-maxsize": &o.MaxSize} {
		value := f.Last(flag)
		if !f.Given(flag) {
			known, _ := flagtable.Lookup(flag)
			value = known.Default
		}
		var err error
		if *n, err = strconv.Atoi(value); err != nil || *n < 0 {
			return o, fmt.Errorf("--%s=%s is no number: want 0 or more", flag, value)
		}
	}
	return o, nil
}

// connections are what each process of a tier inherits behind its sockets.
func (s *setup) connections() []connect {
	if s.auditLog == nil {
		return nil
	}
	return []connect{s.auditLog.Connect}
}

// auditLogFD is the number of the connection in a process of the tier.
func (s *setup) auditLogFD(name tier.Name) int {
	if s.options.Forwarded.Last(auditLogPath) == "" {
		return 0
	}
	_, behind := s.sockets.listen(name, child.FirstFD)
	return behind
}
