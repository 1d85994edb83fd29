// Package operator is an operator as people write them with controller-runtime:
// a reconciler with a finalizer and owned objects, a defaulting and a validating
// webhook, and a leader elected among two processes.
package operator

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/go-logr/logr/funcr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	// Finalizer keeps a cask until the operator has seen its end.
	Finalizer = "operator.clients.example.com/cellar"
	// Label of a bottle is its cask.
	Label = "operator.clients.example.com/cask"
	// MaxBottles is the most that a cask may have.
	MaxBottles = 60
)

// What ChildMain needs is in the environment of the process.
const (
	KubeconfigEnv = "TRIPTYCH_TEST_OPERATOR"
	PortEnv       = "TRIPTYCH_TEST_OPERATOR_PORT"
	CertDirEnv    = "TRIPTYCH_TEST_OPERATOR_CERTS"
)

// ChildMain runs the operator and exits if this process was started for that.
func ChildMain() {
	if kubeconfig := os.Getenv(KubeconfigEnv); kubeconfig != "" {
		if err := run(ctrl.SetupSignalHandler(), kubeconfig); err != nil {
			fmt.Fprintln(os.Stderr, "the operator ends:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

func run(ctx context.Context, kubeconfig string) error {
	ctrl.SetLogger(funcr.New(func(prefix, args string) { fmt.Println(prefix, args) }, funcr.Options{LogTimestamp: true}))
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200
	port, err := strconv.Atoi(os.Getenv(PortEnv))
	if err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	scheme.AddKnownTypes(GroupVersion, &Cask{}, &CaskList{})
	metav1.AddToGroupVersion(scheme, GroupVersion)
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, LeaderElection: true, LeaderElectionID: "operator", LeaderElectionNamespace: "operator",
		Cache:         cache.Options{DefaultNamespaces: map[string]cache.Config{"operator": {}}},
		Metrics:       server.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: port, CertDir: os.Getenv(CertDirEnv)}),
	})
	if err != nil {
		return err
	}
	r := &reconciler{Client: mgr.GetClient(), live: mgr.GetAPIReader()}
	if err := ctrl.NewControllerManagedBy(mgr).For(&Cask{}).Owns(&corev1.ConfigMap{}).Complete(r); err != nil {
		return err
	}
	if err := ctrl.NewWebhookManagedBy(mgr, &Cask{}).WithDefaulter(hooks{}).WithValidator(hooks{}).Complete(); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

type reconciler struct {
	client.Client
	// live reads past the cache, in which what another leader did may be missing.
	live client.Reader
}

// Reconcile fills as many bottles as are wanted. Their names are made by the
// server: one that is filled twice, by two leaders or by a request that was sent
// twice, is there twice.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	cask := &Cask{}
	if err := r.live.Get(ctx, request.NamespacedName, cask); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if cask.DeletionTimestamp != nil {
		if controllerutil.RemoveFinalizer(cask, Finalizer) {
			return ctrl.Result{}, client.IgnoreNotFound(r.Update(ctx, cask))
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(cask, Finalizer) {
		return ctrl.Result{}, r.Update(ctx, cask)
	}
	bottles := &corev1.ConfigMapList{}
	if err := r.live.List(ctx, bottles, client.InNamespace(cask.Namespace), client.MatchingLabels{Label: cask.Name}); err != nil {
		return ctrl.Result{}, err
	}
	for i := len(bottles.Items); i < cask.Spec.Bottles; i++ {
		bottle := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			GenerateName: cask.Name + "-", Namespace: cask.Namespace, Labels: map[string]string{Label: cask.Name},
		}}
		if err := controllerutil.SetControllerReference(cask, bottle, r.Scheme()); err != nil {
			return ctrl.Result{}, err
		}
		if err := r.Create(ctx, bottle); err != nil {
			return ctrl.Result{}, err
		}
	}
	cask.Status = CaskStatus{
		ObservedGeneration: cask.Generation, Bottles: max(len(bottles.Items), cask.Spec.Bottles),
		Surplus: max(cask.Status.Surplus, len(bottles.Items)-cask.Spec.Bottles),
	}
	return ctrl.Result{}, r.Status().Update(ctx, cask)
}

// hooks are the webhooks.
type hooks struct{}

// Default gives a cask a bottle.
func (hooks) Default(_ context.Context, cask *Cask) error {
	if cask.Spec.Bottles == 0 {
		cask.Spec.Bottles = 1
	}
	return nil
}

// ValidateCreate bounds the bottles.
func (hooks) ValidateCreate(_ context.Context, cask *Cask) (admission.Warnings, error) {
	if cask.Spec.Bottles > MaxBottles {
		return nil, fmt.Errorf("%d bottles are too many", cask.Spec.Bottles)
	}
	if cask.Spec.Bottles == MaxBottles {
		return admission.Warnings{"that is a full cask"}, nil
	}
	return nil, nil
}

// ValidateUpdate forbids to take bottles away.
func (h hooks) ValidateUpdate(ctx context.Context, old, cask *Cask) (admission.Warnings, error) {
	if cask.Spec.Bottles < old.Spec.Bottles {
		return nil, errors.New("bottles cannot be emptied")
	}
	return h.ValidateCreate(ctx, cask)
}

// ValidateDelete allows it.
func (hooks) ValidateDelete(context.Context, *Cask) (admission.Warnings, error) { return nil, nil }
