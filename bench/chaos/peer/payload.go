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
	Key       string `json:"key"`
	Pad       string `json:"pad"`
}

// newPayload returns the data of an event, of about so many bytes.
func newPayload(id ledger.Ident, topic, key string, size int) []byte {
	b := fmt.Appendf(nil, `{"publisher":%d,"serial":%d,"topic":%q,"key":%q,"pad":"`, id.Publisher, id.Serial, topic, key)
	pad := strconv.FormatUint(uint64(id.Serial)*2654435761, 36) + "."
	b = append(b, strings.Repeat(pad, max(0, size-len(b))/len(pad)+1)...)
	return append(b, `"}`...)
}

// readPayload returns what data says that it is, and its digest.
func readPayload(topic, key string, data []byte) (ledger.Ident, uint64, error) {
	var p payload
	if err := json.Unmarshal(data, &p); err != nil {
		return ledger.Ident{}, 0, fmt.Errorf("read payload %.100q: %w", data, err)
	}
	if p.Topic != topic {
		return ledger.Ident{}, 0, fmt.Errorf("an event of %s came as one of %s", p.Topic, topic)
	}
	if key != "" && p.Key != key {
		return ledger.Ident{}, 0, fmt.Errorf("an event of the key %q came as one of %q", p.Key, key)
	}
	return ledger.Ident{Publisher: p.Publisher, Serial: p.Serial}, digest(data), nil
}

// readTombstone returns whose an event without data is, by its id.
func readTombstone(id, key string) (ledger.Ident, uint64, error) {
	var of ledger.Ident
	if _, err := fmt.Sscanf(id, "%d-%d", &of.Publisher, &of.Serial); err != nil {
		return of, 0, fmt.Errorf("read the id %.100q of a tombstone: %w", id, err)
	}
	return of, digest([]byte(key)), nil
}

func digest(data []byte) uint64 {
	h := fnv.New64a()
	h.Write(data)
	return h.Sum64()
}
