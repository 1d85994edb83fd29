package core

import (
	"errors"
	"sync/atomic"

	genericapiserver "k8s.io/apiserver/pkg/server"
)

// withdrawal takes the API out of the endpoints of the kubernetes Service, and its
// identity lease away, before the head stops. kube-apiserver does so in the hooks
// that run first when it is told to stop; core is told only when the head is gone.
type withdrawal struct {
	server    atomic.Pointer[genericapiserver.GenericAPIServer]
	endpoints *endpoints
}

// withdraw runs the hooks. Core runs them again when it stops itself: each does
// its work once.
func (w *withdrawal) withdraw() error {
	server := w.server.Load()
	if server == nil {
		return errors.New("core is still starting")
	}
	w.endpoints.withdrawn.Store(true)
	return server.RunPreShutdownHooks()
}
