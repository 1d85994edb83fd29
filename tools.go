//go:build tools

package triptych

import (
	_ "github.com/oklog/run"
	_ "github.com/spf13/cobra"
	_ "github.com/coreos/go-systemd/v22/daemon"
	_ "go.etcd.io/etcd/client/v3"
	_ "go.etcd.io/etcd/server/v3/embed"
	_ "go.uber.org/goleak"
	_ "golang.org/x/net/http2"
	_ "golang.org/x/net/websocket"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sync/singleflight"
	_ "golang.org/x/tools/go/packages"
	_ "gopkg.in/natefinch/lumberjack.v2"
	_ "github.com/nxadm/tail"
	_ "github.com/gorilla/websocket"
	_ "github.com/google/go-cmp/cmp"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/sample-apiserver"
	_ "sigs.k8s.io/yaml"
)
