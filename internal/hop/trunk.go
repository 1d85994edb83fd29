package hop

import (
	"encoding/binary"
	"math"
	"strconv"
	"strings"
)

// What a watch costs on a hop is not its bytes. An event that 500 watches wait for is 500 writes at one end and 500
// reads at the other, each of which enters the kernel, is sealed and opened, and wakes somebody. So what watches say travels
// together. A forwarder has one connection more, its trunk, and names it in each request that is a watch. The server
// sends the head of the answer as ever, says in it that it has taken the offer, and sends the body on the trunk:
//
//	forwarder                                     server
//	  --- GET /, Upgrade: triptych-trunk ----------->   once, on a connection of its own
//	  <-- 101 Switching Protocols -------------------
//	  --- GET ...?watch=1, Triptych-Trunk: 5QF2/7 -->   on a connection for requests
//	  <-- 200, Triptych-Trunk: 5QF2/7, no body ------   which serves others from here on
//	  === 7: the head is here ======================>
//	  <== 7: event | 9: event | 7: event ============   on the trunk
//	  === 7: 65536 bytes are taken =================>
//	  <== 7: end ====================================   or === 7: canceled ===>
//
// A trunk is an offer and no more: while there is none, because it is being made, is to be left or the other end is of a
// version without, a watch has its body on a connection of its own, as every other request does. So has one that the server does not
// take for a watch; it says so itself when the trunk is what it does not want.
//
// A watch that is canceled before the head of its answer has arrived is canceled by closing the connection that it was sent on. If
// that is too late, since the server has let go of that connection, nobody says that the head is there; a server waits
// for that no longer than confirmPatience.
//
// No watch waits for another one. Each has a window of bytes that may be under way, so that the forwarder's end reads
// whatever comes and holds what a slow client has not taken; the handler of that watch waits then, as it would for
// a connection. When the trunk is lost, all its watches are cut off, and clients resume them.
const (
	trunkProtocol = "triptych-trunk" // asked for by no request of a client's; see board
	trunkHeader   = "Triptych-Trunk"
	// trunkOver is what the server says in place of a lane when the trunk is to be left.
	trunkOver = "over"
	// trunkWindow is how many bytes of a watch may be sent and not be taken by its client.
	trunkWindow = 128 << 10
	// maxTrunkFrame is the most that one watch sends before others have their turn. What is no larger is never taken
	// apart: a watch may be ended between any two frames, and nearly every event is in one of them.
	maxTrunkFrame = 32 << 10
	// trunkFrameHeader is the number of a watch and a count of bytes, 32 bits each, big endian. From the server so many
	// bytes follow. To the server so many were taken, and nothing follows.
	trunkFrameHeader = 8
)

// What a count says that is none, and behind which nothing follows.
const (
	laneEnds   uint32 = 0              // from the server: all was sent
	laneBreaks uint32 = math.MaxUint32 // from the server: there is more, and it does not come

	laneCanceled  uint32 = 0              // to the server
	laneConfirmed uint32 = math.MaxUint32 // to the server: the head of the answer is here
)

func appendTrunkFrame(b []byte, lane, count uint32) []byte {
	b = binary.BigEndian.AppendUint32(b, lane)
	return binary.BigEndian.AppendUint32(b, count)
}

func parseTrunkFrame(header []byte) (lane, count uint32) {
	return binary.BigEndian.Uint32(header), binary.BigEndian.Uint32(header[4:])
}

// laneName is what trunkHeader says: which trunk, and which watch on it.
func laneName(trunk string, lane uint32) string {
	return trunk + "/" + strconv.FormatUint(uint64(lane), 10)
}

func parseLaneName(name string) (trunk string, lane uint32, ok bool) {
	trunk, number, _ := strings.Cut(name, "/")
	n, err := strconv.ParseUint(number, 10, 32)
	return trunk, uint32(n), err == nil
}
