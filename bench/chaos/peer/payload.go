package peer

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"github.com/millrace-dev/millrace/bench/ledger"
)

// payload is what every event carries, so that it can be told end to end whose it is and where it belongs.
type payload struct {
	Publisher uint32 `json:"publisher"`
	Serial    uint32 `json:"serial"`
	Topic     string `json:"topic"`
	Pad       string `json:"pad"`
}

// newPayload returns the data of an event, of about so many bytes.
func newPayload(id ledger.Ident, topic string, size int) []byte {
	b := fmt.Appendf(nil, `{"publisher":%d,"serial":%d,"topic":%q,"pad":"`, id.Publisher, id.Serial, topic)
	pad := strconv.FormatUint(uint64(id.Serial)*2654435761, 36) + "."
	b = append(b, strings.Repeat(pad, max(0, size-len(b))/len(pad)+1)...)
	return append(b, `"}`...)
}

// readPayload returns what data says that it is, and its digest.
func readPayload(topic string, data []byte) (ledger.Ident, uint64, error) {
	var p payload
	if err := json.Unmarshal(data, &p); err != nil {
		return ledger.Ident{}, 0, fmt.Errorf("read payload %.100q: %w", data, err)
	}
	if p.Topic != topic {
		return ledger.Ident{}, 0, fmt.Errorf("an event of %s came as one of %s", p.Topic, topic)
	}
	return ledger.Ident{Publisher: p.Publisher, Serial: p.Serial}, digest(data), nil
}

func digest(data []byte) uint64 {
	h := fnv.New64a()
	h.Write(data)
	return h.Sum64()
}
