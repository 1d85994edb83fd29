package serving

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericoptions "k8s.io/apiserver/pkg/server/options"

	corev1 "k8s.io/api/core/v1"

	"triptych.dev/triptych/internal/process"
	"triptych.dev/triptych/internal/wiring"
)

func TestAListenerThatServesNothingWaitsForItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := unserved("127.0.0.1:6443").Listener
		if got := l.Addr().String(); got != "127.0.0.1:6443" {
			t.Errorf("its address is %s", got)
		}
		done := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("accepted: %v", err)
		default:
		}
		for range 2 {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := <-done; err != net.ErrClosed {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestEveryTierNamesTheHeadsAddress(t *testing.T) {
	for name, c := range map[string]struct {
		public, advertised, host string
		address, external, says  string
	}{
		"the wiring's":           {public: "10.0.0.1:6443", address: "10.0.0.1", external: "10.0.0.1"},
		"IPv6":                   {public: "[fd00::1]:6443", address: "fd00::1", external: "fd00::1"},
		"--advertise-address":    {public: "10.0.0.1:6443", advertised: "10.0.0.9", address: "10.0.0.9", external: "10.0.0.9"},
		"--external-hostname":    {public: "10.0.0.1:6443", host: "api.example.org", address: "10.0.0.1", external: "api.example.org"},
		"a name":                 {public: "api.example.org:6443", says: "--advertise-address"},
		"a name, but advertised": {public: "api.example.org:6443", advertised: "10.0.0.9", address: "10.0.0.9", external: "10.0.0.9"},
		"no port":                {public: "10.0.0.1", says: "port"},
	} {
		t.Run(name, func(t *testing.T) {
			o := &Options{ServerRun: genericoptions.NewServerRunOptions()}
			o.ServerRun.AdvertiseAddress, o.ServerRun.ExternalHost = net.ParseIP(c.advertised), c.host
			err := advertise(&process.Process{Wiring: &wiring.Wiring{PublicAddress: c.public}}, o)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want %q", err, c.says)
				}
				return
			}
			if err != nil || o.ServerRun.AdvertiseAddress.String() != c.address || o.ServerRun.ExternalHost != c.external {
				t.Errorf("got %v, %s, %v", o.ServerRun.AdvertiseAddress, o.ServerRun.ExternalHost, err)
			}
		})
	}
}

func TestInformersForgetWhoManagesWhichField(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}}}}
	got, err := withoutManagedFields(pod)
	if err != nil || got.(*corev1.Pod).ManagedFields != nil || got.(*corev1.Pod).Name != "a" {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := withoutManagedFields("a tombstone"); got != "a tombstone" || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}
