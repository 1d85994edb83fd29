package etcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"triptych.dev/triptych/internal/identity"
	"triptych.dev/triptych/internal/keyspace"
	"triptych.dev/triptych/internal/tier"
)

// Operator is the common name of the certificate under kubeadm's name for it: who
// looks after etcd by hand, and a stock kube-apiserver that takes the data over.
const Operator = "kube-apiserver-etcd-client"

// root is the user and role without which etcd turns no authentication on. No
// certificate has the name.
const root = "root"

// Role is what one user of etcd may do. etcd knows who calls by the common name of
// the certificate.
type Role struct {
	// Name is that of the role, User that of the user who has it.
	Name, User string
	// Rights are ranges; none for etcd's own root.
	Rights []keyspace.Right
}

// Root is the user without whom authentication cannot be on.
var Root = Role{Name: root, User: root}

// Roles are those of the tiers that store in an etcd below --etcd-prefix.
func Roles(prefix string, tiers ...tier.Name) []Role {
	var all []Role
	for _, name := range tiers {
		compacts := name == tier.Core || len(tiers) == 1
		all = append(all, Role{Name: "triptych-" + string(name), User: string(name), Rights: keyspace.Rights(name, prefix, compacts)})
	}
	return all
}

// embeddedRoles are those of an etcd that the supervisor runs.
func embeddedRoles(prefix string) []Role {
	all := Roles(prefix, tier.Order...)
	for _, user := range []string{string(identity.Supervisor), Operator} {
		all = append(all, Role{Name: root, User: user})
	}
	return all
}

// Commands are what gives etcd the role and its user by hand.
func (r Role) Commands() []string {
	var all []string
	if r.Name != root { // etcd has that one
		all = append(all, "etcdctl role add "+r.Name)
	}
	for _, right := range r.Rights {
		line := "etcdctl role grant-permission " + r.Name + " read "
		if right.Write {
			line = "etcdctl role grant-permission " + r.Name + " readwrite "
		}
		if line += right.From; !right.One() {
			line += " " + right.To
		}
		all = append(all, line)
	}
	return append(all, "etcdctl user add "+r.User+" --no-password", "etcdctl user grant-role "+r.User+" "+r.Name)
}

// inFlight is how many changes are made at once: each is a write to etcd's disk, and
// those that wait together are one.
const inFlight = 32

// Secure has etcd know the users of all tiers and what each may do, and from then on
// nobody else. What is so already is left; rights that a role has beyond are taken away.
// The client's certificate must be one of a root.
func (c *Client) Secure(ctx context.Context, prefix string) error {
	return Apply(ctx, c.conn, embeddedRoles(prefix), true)
}

// Apply gives etcd these roles and users and, with enable, turns authentication on. It
// can be interrupted and called again.
func Apply(ctx context.Context, conn grpc.ClientConnInterface, roles []Role, enable bool) error {
	a := applier{pb.NewAuthClient(conn)}
	for _, r := range append(slices.Clone(roles), Root) {
		if r.Name != root {
			if err := a.role(ctx, r); err != nil {
				return fmt.Errorf("cannot give etcd the role %s: %w", r.Name, err)
			}
		}
		if err := a.user(ctx, r); err != nil {
			return fmt.Errorf("cannot give etcd the user %s: %w", r.User, err)
		}
	}
	if !enable {
		return nil
	}
	s, err := a.AuthStatus(ctx, &pb.AuthStatusRequest{})
	if err == nil && !s.GetEnabled() {
		_, err = a.AuthEnable(ctx, &pb.AuthEnableRequest{})
	}
	if err != nil {
		return fmt.Errorf("cannot turn etcd's authentication on: %w", err)
	}
	return nil
}

// Open turns authentication off: whoever has a certificate of etcd's CA may do anything.
// Users and roles stay.
func (c *Client) Open(ctx context.Context) error {
	if _, err := pb.NewAuthClient(c.conn).AuthDisable(ctx, &pb.AuthDisableRequest{}); err != nil {
		return fmt.Errorf("cannot turn etcd's authentication off: %w", err)
	}
	return nil
}

type applier struct{ pb.AuthClient }

func (a applier) role(ctx context.Context, r Role) error {
	var have []*authpb.Permission
	found, err := a.RoleGet(ctx, &pb.AuthRoleGetRequest{Role: r.Name})
	switch {
	case errors.Is(rpctypes.Error(err), rpctypes.ErrRoleNotFound):
		_, err = a.RoleAdd(ctx, &pb.AuthRoleAddRequest{Name: r.Name})
	case err == nil:
		have = found.GetPerm()
	}
	if err != nil {
		return err
	}
	want := permissions(r.Rights)
	changes, within := errgroup.WithContext(ctx)
	changes.SetLimit(inFlight)
	for _, p := range want {
		if !slices.ContainsFunc(have, func(q *authpb.Permission) bool { return sameRange(p, q) && p.GetPermType() == q.GetPermType() }) {
			changes.Go(func() error {
				_, err := a.RoleGrantPermission(within, &pb.AuthRoleGrantPermissionRequest{Name: r.Name, Perm: p})
				return err
			})
		}
	}
	for _, p := range have {
		if !slices.ContainsFunc(want, func(q *authpb.Permission) bool { return sameRange(p, q) }) {
			changes.Go(func() error {
				_, err := a.RoleRevokePermission(within, &pb.AuthRoleRevokePermissionRequest{Role: r.Name, Key: p.GetKey(), RangeEnd: p.GetRangeEnd()})
				return err
			})
		}
	}
	return changes.Wait()
}

func (a applier) user(ctx context.Context, r Role) error {
	var have []string
	found, err := a.UserGet(ctx, &pb.AuthUserGetRequest{Name: r.User})
	switch {
	case errors.Is(rpctypes.Error(err), rpctypes.ErrUserNotFound):
		_, err = a.UserAdd(ctx, &pb.AuthUserAddRequest{Name: r.User, Options: &authpb.UserAddOptions{NoPassword: true}})
	case err == nil:
		have = found.GetRoles()
	}
	if err == nil && !slices.Contains(have, r.Name) {
		_, err = a.UserGrantRole(ctx, &pb.AuthUserGrantRoleRequest{User: r.User, Role: r.Name})
	}
	for _, role := range have {
		if err == nil && role != r.Name {
			_, err = a.UserRevokeRole(ctx, &pb.AuthUserRevokeRoleRequest{Name: r.User, Role: role})
		}
	}
	return err
}

func permissions(rights []keyspace.Right) []*authpb.Permission {
	all := make([]*authpb.Permission, 0, len(rights))
	for _, r := range rights {
		p := &authpb.Permission{Key: []byte(r.From), PermType: authpb.Permission_READ}
		if !r.One() {
			p.RangeEnd = []byte(r.To)
		}
		if r.Write {
			p.PermType = authpb.Permission_READWRITE
		}
		all = append(all, p)
	}
	return all
}

func sameRange(p, q *authpb.Permission) bool {
	return bytes.Equal(p.GetKey(), q.GetKey()) && bytes.Equal(p.GetRangeEnd(), q.GetRangeEnd())
}
