// Package frame turns what a gateway says into the bytes of the client protocol, and what a peer says into commands.
//
// There is one schema, ServerFrame and ClientFrame of millrace.v1, in two forms. The JSON form is its ProtoJSON mapping,
// but for payloads of a JSON type, which stand in their frame verbatim. It is written by hand, since an event is to be
// encoded without reflection and protojson gives no stable bytes. The other form is protobuf. Reading goes through the
// generated messages in both, so that commands have one meaning.
//
// All functions may be called concurrently; those that append write nothing but to dst.
package frame

import (
	"math"
	"time"
)

// millis returns a duration as the contract has them in 32 bits: not negative, and cut at 49 days.
func millis(d time.Duration) uint64 {
	return uint64(min(max(d.Milliseconds(), 0), math.MaxUint32))
}
