package extensions

import (
	"sync"
	"time"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	// many changes of CRDs are a burst: a CRD that is made changes about four times until
	// it is served.
	many = 20
	// lately is how long a change counts. What it costs follows it closely.
	lately = 3 * time.Second
)

// burst tells when many CRDs change: what that costs, in conversions, schemas and OpenAPI
// documents, can wait for what others do.
type burst struct {
	tell func(on bool)

	mu    sync.Mutex
	count int // changes lately
	on    bool
}

// follow counts changes from now on. Those that are there at first count as well.
func (b *burst) follow(informer cache.SharedIndexInformer) error {
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { b.changed() },
		UpdateFunc: func(old, now any) {
			// The informer repeats what has not changed every few minutes.
			if old.(*v1.CustomResourceDefinition).ResourceVersion != now.(*v1.CustomResourceDefinition).ResourceVersion {
				b.changed()
			}
		},
		DeleteFunc: func(any) { b.changed() },
	})
	return err
}

func (b *burst) changed() {
	b.add(1)
	time.AfterFunc(lately, func() { b.add(-1) })
}

// add adds to the changes that count. A burst ends when none does.
func (b *burst) add(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count += n
	if on := b.count >= many || b.on && b.count > 0; on != b.on {
		b.on = on
		b.tell(on)
	}
}
