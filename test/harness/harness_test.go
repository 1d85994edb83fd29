package harness

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMain(m *testing.M) { Main(m) }

// The yardstick itself: were the stock server not what it is, every comparison
// with it would be worthless.
func TestStockServesWithItsOwnEtcd(t *testing.T) {
	stock := RunStock(t)

	version := Must(stock.Discovery(t).ServerVersion())(t)
	if strings.Contains(version.GitVersion, "+") || !strings.HasPrefix(version.GitVersion, "v1.") {
		t.Errorf("the stock server says it is %s", version.GitVersion)
	}
	namespaces := stock.Clientset(t).CoreV1().Namespaces()
	Must(namespaces.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "kept"}}, metav1.CreateOptions{}))(t)
	if out := stock.Kubectl(t, "get", "namespaces", "-o", "name"); !strings.Contains(out, "namespace/kept") {
		t.Errorf("kubectl does not see the namespace: %s", out)
	}
	if got := Must(Send(t.Context(), stock.Anonymous(t), "GET", "/api/v1/namespaces", ""))(t); got.Code != 403 {
		t.Errorf("the anonymous may list namespaces: %s", got)
	}
}

func TestAwaitReturnsTheLastError(t *testing.T) {
	broken := errors.New("broken")
	if err := Await(t.Context(), Poll, "a miracle", func() error { return broken }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	calls := 0
	err := Await(t.Context(), time.Minute, "the third time", func() error {
		if calls++; calls < 3 {
			return broken
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestProcsOfFindsChildrenByTheirArguments(t *testing.T) {
	dir := TempDir(t)
	p := Must(StartProcess(syscall.SIGKILL, nil, "/usr/bin/tail", "-f", "-n0", "/dev/null", "--pid=1", dir))(t)
	Eventually(t, 10*time.Second, "the child is found", func() error {
		if found := ProcsOf(dir); len(found) != 1 || found[0].PID != p.PID() {
			return fmt.Errorf("found %v, want %d", found, p.PID())
		}
		return nil
	})
	if err := p.End(10 * time.Second); err != nil {
		t.Error(err)
	}
	if found := ProcsOf(dir); len(found) > 0 {
		t.Errorf("found %v after the end", found)
	}
}

func TestProcessKeepsOutputAndExitCode(t *testing.T) {
	p := Must(StartProcess(syscall.SIGKILL, []string{"WORD=said"}, "/bin/sh", "-c", "echo $WORD; exit 3"))(t)
	code, err := p.Wait(10 * time.Second)
	if err != nil || code != 3 || !slices.Equal(p.Output.Lines(), []string{"said"}) {
		t.Errorf("exit code %d, output %q, %v", code, p.Output, err)
	}
	_, _, code = Command(context.Background(), "/nonexistent")
	if code != -1 {
		t.Errorf("a program that is not there exits with %d", code)
	}
}
