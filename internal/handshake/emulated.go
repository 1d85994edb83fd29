package handshake

import "k8s.io/apimachinery/pkg/util/version"

// Emulated is the setting that is no hash: the minor of Kubernetes whose API a process
// serves, such as 1.37, be it its own or by --emulated-version. A tier that is upgraded
// has both minors side by side, as several kube-apiservers have, so neighbours agree.
const Emulated = "emulated-version-of-kubernetes"

// neighbours tells whether two minors are the same or next to one another.
func neighbours(a, b string) bool {
	x, errX := version.ParseGeneric(a)
	y, errY := version.ParseGeneric(b)
	if errX != nil || errY != nil || x.Major() != y.Major() {
		return a == b
	}
	return max(x.Minor(), y.Minor())-min(x.Minor(), y.Minor()) <= 1
}
