package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"triptych.dev/triptych/internal/pki"
	"triptych.dev/triptych/internal/refusal"
)

// Supervisor is what the socket gives access to. Its methods may be called from
// any goroutine.
type Supervisor interface {
	// Status may ask the processes, which is bounded.
	Status(ctx context.Context) Status
	// Metrics asks the processes what they have counted, which is bounded.
	Metrics(ctx context.Context) Metrics
	// Security tells what each process may do.
	Security() []SecurityRow
	// Stop begins a stop and does not wait; now does without grace.
	Stop(now bool)
	// StopTier returns when the processes of the named tier or replica are gone, gracefully; none follows before
	// StartTier, which returns when they are ready.
	StopTier(ctx context.Context, name string) ([]Standing, error)
	StartTier(ctx context.Context, name string) ([]Standing, error)
	// Restart returns when the named tier, replica or etcd is ready again.
	Restart(ctx context.Context, name string) error
	// Scale returns when each named tier has so many replicas.
	Scale(ctx context.Context, wanted map[string]int) error
	// Drain returns when the named replica has answered everything and is gone.
	Drain(ctx context.Context, replica string) error
	// Trace tells who serves path and by which rule, and times it at each process on its way.
	Trace(ctx context.Context, path string) (Trace, error)
	// Invite has another host join by a token, once and within ttl; it is served at
	// address, or where the supervisor chooses.
	Invite(ctx context.Context, address string, ttl time.Duration) (Invitation, error)
	// Reload reads the configuration again and puts in force what can change live, or,
	// with dry, says what that would be.
	Reload(ctx context.Context, dry bool) (Reload, error)
	// Certificates lists all certificates.
	Certificates() ([]pki.Certificate, error)
	// RenewCertificates has the named ones, or all, signed anew, and returns which were when all processes go by it.
	RenewCertificates(ctx context.Context, names []string, all bool) ([]string, error)
	// RotateCA replaces the internal CA, while requests go on.
	RotateCA(ctx context.Context, r CARotation) error
	// CompactEtcd makes room in the embedded etcd.
	CompactEtcd(ctx context.Context) (Compaction, error)
	// MoveExtensions returns when extensions serves from the target.
	MoveExtensions(ctx context.Context, to MoveTarget) (Move, error)
	// TakeSnapshot returns when the file is complete and was read back; tell is called
	// meanwhile.
	TakeSnapshot(ctx context.Context, r SnapshotRequest, tell func(step string, done, total int64)) (Snapshot, error)
	// Snapshots tells how the schedule stands.
	Snapshots() (Snapshots, error)
	// Upgrade brings the tiers to other programs, or back. What it began goes on when ctx
	// ends.
	Upgrade(ctx context.Context, r UpgradeRequest) (Upgraded, error)
}

// Server answers on the control socket.
type Server struct {
	http     *http.Server
	listener net.Listener
}

// Listen opens the socket at path, in place of one that a supervisor which was
// killed has left: the caller holds the lock of the data directory.
func Listen(path string, s Supervisor) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot open the control socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("cannot open the control socket: %w", err)
	}
	// Until here the folder, which is 0700, kept others out.
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("cannot open the control socket: %w", err)
	}
	return &Server{
		http:     &http.Server{Handler: handler(s), ReadHeaderTimeout: 5 * time.Second},
		listener: trustedListener{l.(*net.UnixListener), refusal.New("control socket")},
	}, nil
}

// Serve answers until Close and then returns nil.
func (s *Server) Serve() error {
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve the control socket: %w", err)
	}
	return nil
}

// Close removes the socket and ends all calls.
func (s *Server) Close() error { return errors.Join(s.http.Close(), s.closeListener()) }

// closeListener matters when Serve was never called.
func (s *Server) closeListener() error {
	if err := s.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func handler(s Supervisor) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, s.Status(r.Context()))
	})
	mux.HandleFunc("GET /v1/metrics", metrics(s))
	mux.HandleFunc("GET /v1/security", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, s.Security())
	})
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, r *http.Request) {
		s.Stop(r.URL.Query().Get("now") == "true")
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("POST /v1/restart", func(w http.ResponseWriter, r *http.Request) {
		confirm(w, s.Restart(r.Context(), r.URL.Query().Get("name")))
	})
	mux.HandleFunc("POST /v1/tiers/stop", stand(s.StopTier))
	mux.HandleFunc("POST /v1/tiers/start", stand(s.StartTier))
	mux.HandleFunc("POST /v1/scale", func(w http.ResponseWriter, r *http.Request) {
		wanted := map[string]int{}
		for name := range r.URL.Query() {
			n, err := strconv.Atoi(r.URL.Query().Get(name))
			if err != nil {
				answer(w, http.StatusBadRequest, failure{Error: err.Error()})
				return
			}
			wanted[name] = n
		}
		confirm(w, s.Scale(r.Context(), wanted))
	})
	mux.HandleFunc("POST /v1/drain", drain(s))
	mux.HandleFunc("GET /v1/trace", trace(s))
	mux.HandleFunc("POST /v1/join-token", func(w http.ResponseWriter, r *http.Request) {
		ttl, err := time.ParseDuration(r.URL.Query().Get("ttl"))
		if err != nil {
			answer(w, http.StatusBadRequest, failure{Error: err.Error()})
			return
		}
		made, err := s.Invite(r.Context(), r.URL.Query().Get("listen"), ttl)
		tell(w, made, err)
	})
	mux.HandleFunc("POST /v1/reload", func(w http.ResponseWriter, r *http.Request) {
		done, err := s.Reload(r.Context(), r.URL.Query().Get("dry") == "true")
		tell(w, done, err)
	})
	certificates(mux, s)
	mux.HandleFunc("POST /v1/etcd/compact", func(w http.ResponseWriter, r *http.Request) {
		done, err := s.CompactEtcd(r.Context())
		tell(w, done, err)
	})
	mux.HandleFunc("POST /v1/etcd/move-extensions", func(w http.ResponseWriter, r *http.Request) {
		var to MoveTarget
		if err := json.NewDecoder(r.Body).Decode(&to); err != nil {
			answer(w, http.StatusBadRequest, failure{Error: err.Error()})
			return
		}
		done, err := s.MoveExtensions(r.Context(), to)
		tell(w, done, err)
	})
	mux.HandleFunc("POST /v1/snapshot", takeSnapshot(s))
	mux.HandleFunc("GET /v1/snapshot", func(w http.ResponseWriter, _ *http.Request) {
		all, err := s.Snapshots()
		tell(w, all, err)
	})
	mux.HandleFunc("POST /v1/upgrade", upgrade(s))
	return mux
}

// tell answers with what came of a call, or why nothing did.
func tell(w http.ResponseWriter, done any, err error) {
	if err != nil {
		answer(w, http.StatusConflict, failureOf(err))
		return
	}
	answer(w, http.StatusOK, done)
}

// confirm answers a call that nothing comes of but its success.
func confirm(w http.ResponseWriter, err error) {
	if err != nil {
		answer(w, http.StatusConflict, failureOf(err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// failure is the body of every answer that is not a success.
type failure struct {
	Error string `json:"error"`
	// Reason tells what became of it, if that is known.
	Reason string `json:"reason,omitempty"`
}

func failureOf(err error) failure {
	f := failure{Error: err.Error()}
	if errors.As(err, &RefusedError{}) {
		f.Reason = reasonRefused
	}
	if errors.As(err, &RolledBackError{}) {
		f.Reason = reasonRolledBack
	}
	return f
}

func (f failure) err() error {
	err := errors.New(f.Error)
	switch f.Reason {
	case reasonRefused:
		return RefusedError{err}
	case reasonRolledBack:
		return RolledBackError{err}
	}
	return err
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
