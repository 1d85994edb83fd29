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
)

// Supervisor is what the socket gives access to. Its methods may be called from
// any goroutine.
type Supervisor interface {
	// Status may ask the processes, which is bounded.
	Status(ctx context.Context) Status
	// Stop begins a stop and does not wait; now does without grace.
	Stop(now bool)
	// Restart returns when the named tier, replica or etcd is ready again.
	Restart(ctx context.Context, name string) error
	// Scale returns when each named tier has so many replicas.
	Scale(ctx context.Context, wanted map[string]int) error
	// Invite has another host join by a token, once and within ttl; it is served at
	// address, or where the supervisor chooses.
	Invite(ctx context.Context, address string, ttl time.Duration) (Invitation, error)
	// CompactEtcd makes room in the embedded etcd.
	CompactEtcd(ctx context.Context) (Compaction, error)
	// MoveExtensions returns when extensions serves from the target.
	MoveExtensions(ctx context.Context, to MoveTarget) (Move, error)
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
		listener: trustedListener{l.(*net.UnixListener)},
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
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, r *http.Request) {
		s.Stop(r.URL.Query().Get("now") == "true")
		w.WriteHeader(http.StatusAccepted)
	})
	mux.HandleFunc("POST /v1/restart", func(w http.ResponseWriter, r *http.Request) {
		if err := s.Restart(r.Context(), r.URL.Query().Get("name")); err != nil {
			answer(w, http.StatusConflict, failure{err.Error()})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /v1/scale", func(w http.ResponseWriter, r *http.Request) {
		wanted := map[string]int{}
		for name := range r.URL.Query() {
			n, err := strconv.Atoi(r.URL.Query().Get(name))
			if err != nil {
				answer(w, http.StatusBadRequest, failure{err.Error()})
				return
			}
			wanted[name] = n
		}
		if err := s.Scale(r.Context(), wanted); err != nil {
			answer(w, http.StatusConflict, failure{err.Error()})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /v1/join-token", func(w http.ResponseWriter, r *http.Request) {
		ttl, err := time.ParseDuration(r.URL.Query().Get("ttl"))
		if err != nil {
			answer(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		made, err := s.Invite(r.Context(), r.URL.Query().Get("listen"), ttl)
		if err != nil {
			answer(w, http.StatusConflict, failure{err.Error()})
			return
		}
		answer(w, http.StatusOK, made)
	})
	mux.HandleFunc("POST /v1/etcd/compact", func(w http.ResponseWriter, r *http.Request) {
		done, err := s.CompactEtcd(r.Context())
		if err != nil {
			answer(w, http.StatusConflict, failure{err.Error()})
			return
		}
		answer(w, http.StatusOK, done)
	})
	mux.HandleFunc("POST /v1/etcd/move-extensions", func(w http.ResponseWriter, r *http.Request) {
		var to MoveTarget
		if err := json.NewDecoder(r.Body).Decode(&to); err != nil {
			answer(w, http.StatusBadRequest, failure{err.Error()})
			return
		}
		done, err := s.MoveExtensions(r.Context(), to)
		if err != nil {
			answer(w, http.StatusConflict, failure{err.Error()})
			return
		}
		answer(w, http.StatusOK, done)
	})
	return mux
}

// failure is the body of every answer that is not a success.
type failure struct {
	Error string `json:"error"`
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}
