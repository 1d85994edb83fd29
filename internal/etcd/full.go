package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Room is how much of the quota the database takes.
type Room struct {
	// Size is the database's, Quota that at which writes are refused.
	Size, Quota int64
	// Full tells that they are: the quota was reached, and the alarm has not been
	// taken back.
	Full bool
}

// String says it in words.
func (r Room) String() string {
	return fmt.Sprintf("%.1f of %.1f MiB", float64(r.Size)/(1<<20), float64(r.Quota)/(1<<20))
}

// roomy tells whether an alarm may be taken back: at the very quota the next
// write would raise it again.
func roomy(size, quota int64) bool { return size < quota-quota/10 }

// Room asks for it. Unlike the alarms themselves it costs etcd no write.
func (c *Client) Room(ctx context.Context) (Room, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	s, err := pb.NewMaintenanceClient(c.conn).Status(ctx, &pb.StatusRequest{})
	if err != nil {
		return Room{}, fmt.Errorf("etcd does not answer: %w", err)
	}
	return roomOf(s), nil
}

func roomOf(s *pb.StatusResponse) Room {
	full := strings.Contains(strings.Join(s.GetErrors(), "\n"), pb.AlarmType_NOSPACE.String())
	return Room{Size: s.GetDbSize(), Quota: s.GetDbSizeQuota(), Full: full}
}

// Compact forgets the history of all keys, gives what that took back to the disk
// and, if there is room again, has etcd take writes again. The current state of
// every key stays. Full tells whether writes are still refused. Nobody is answered
// while the database is rewritten. dir is etcd's own folder: on a disk that cannot
// hold a second copy the rest would fill it, and etcd would end.
func (c *Client) Compact(ctx context.Context, dir string) (before, after Room, err error) {
	maintenance := pb.NewMaintenanceClient(c.conn)
	s, err := maintenance.Status(ctx, &pb.StatusRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return before, after, fmt.Errorf("etcd does not answer: %w", err)
	}
	before = roomOf(s)
	request := &pb.CompactionRequest{Revision: s.GetHeader().GetRevision(), Physical: true}
	if _, err := pb.NewKVClient(c.conn).Compact(ctx, request); err != nil && !errors.Is(rpctypes.Error(err), rpctypes.ErrCompacted) {
		return before, after, fmt.Errorf("cannot compact: %w", err)
	}
	if s, err = maintenance.Status(ctx, &pb.StatusRequest{}); err != nil {
		return before, after, fmt.Errorf("etcd does not answer: %w", err)
	}
	if free, err := freeSpace(dir); err != nil || free < needed(s.GetDbSizeInUse()) {
		return before, after, errors.Join(err, fmt.Errorf("compacted, but cannot defragment: the disk of %s has %d MiB free, and a second copy of the data needs %d MiB",
			dir, free>>20, needed(s.GetDbSizeInUse())>>20))
	}
	if _, err := maintenance.Defragment(ctx, &pb.DefragmentRequest{}); err != nil {
		return before, after, fmt.Errorf("cannot defragment: %w", err)
	}
	if after, err = c.Room(ctx); err != nil || !after.Full || !roomy(after.Size, after.Quota) {
		return before, after, err
	}
	// Whose alarm it is does not matter: there is one member.
	disarm := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: s.GetHeader().GetMemberId(), Alarm: pb.AlarmType_NOSPACE}
	if _, err := maintenance.Alarm(ctx, disarm); err != nil {
		return before, after, fmt.Errorf("cannot disarm the alarm: %w", err)
	}
	after.Full = false
	return before, after, nil
}

// disarmTimeout bounds what is tried once at a start.
const disarmTimeout = 10 * time.Second

// disarm takes back the alarm that the quota is reached if it is not, as after a
// start with a larger one.
func disarm(ctx context.Context, server *etcdserver.EtcdServer, log *zap.Logger) {
	select {
	case <-server.ReadyNotify():
	case <-ctx.Done():
		return
	}
	for _, alarm := range server.Alarms() {
		if alarm.GetAlarm() != pb.AlarmType_NOSPACE || !roomy(server.Backend().Size(), server.Cfg.QuotaBackendBytes) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, disarmTimeout)
		defer cancel()
		request := &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: alarm.GetMemberID(), Alarm: alarm.GetAlarm()}
		_, err := server.Alarm(ctx, request)
		log.Info("there is room again: disarming the alarm NOSPACE", zap.Error(err))
	}
}
