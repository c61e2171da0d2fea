package frame

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// DecodeJSON reads a peer's frame in JSON. The id is that of the frame if it could be read, also with an error. Members
// that this version does not know are passed over, but not a command that it does not know. Nothing of b is kept.
func DecodeJSON(b []byte) (id uint32, c gateway.Command, err *millrace.Error) {
	id, m, err := readJSON(b)
	if err != nil {
		return id, nil, err
	}
	c, err = command(m)
	return id, c, err
}

// readJSON reads a peer's frame.
func readJSON(b []byte) (id uint32, m *millracev1.ClientFrame, err *millrace.Error) {
	// The JSON reader of Go puts U+FFFD in place of what is not UTF-8, but not in data, which goes to others verbatim.
	if !utf8.Valid(b) {
		return 0, nil, millrace.Errorf(millrace.ReasonBadRequest, "the frame is not UTF-8")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(b, &members); err != nil {
		return 0, nil, millrace.Errorf(millrace.ReasonBadRequest, "the frame is not a JSON object: %v", err)
	}
	id = readID(members)
	kind := ""
	for name := range members {
		switch {
		case name == "id":
		case !slices.Contains(commands(), name):
			return id, nil, millrace.Errorf(millrace.ReasonBadRequest, "there is no command %.64q", name)
		case kind != "":
			return id, nil, millrace.Errorf(millrace.ReasonBadRequest, "a frame has one command, not both %s and %s", min(kind, name), max(kind, name))
		default:
			kind = name
		}
	}
	if kind == "" {
		return id, nil, noCommand()
	}
	body, err := coverData(members[kind])
	if err != nil {
		return id, nil, err
	}
	members[kind] = body
	m = &millracev1.ClientFrame{}
	if err := unmarshalJSON(members, m); err != nil {
		return id, nil, millrace.Errorf(millrace.ReasonBadRequest, "the frame %s can't be read: %s", kind, syntax(err))
	}
	return id, m, nil
}

// DecodeProtobuf reads a peer's frame in protobuf, as DecodeJSON does.
func DecodeProtobuf(b []byte) (id uint32, c gateway.Command, err *millrace.Error) {
	var m millracev1.ClientFrame
	if err := proto.Unmarshal(b, &m); err != nil {
		return 0, nil, millrace.Errorf(millrace.ReasonBadRequest, "the frame is not a ClientFrame: %s", syntax(err))
	}
	c, err = command(&m)
	return m.GetId(), c, err
}

func noCommand() *millrace.Error {
	return millrace.Errorf(millrace.ReasonBadRequest, "the frame has no command that is known here; there are %s", strings.Join(commands(), ", "))
}

// commands returns the names of all commands of the contract.
func commands() []string {
	return []string{
		"subscribe", "unsubscribe", "publish", "broadcast", "history", "join", "update", "leave", "presence", "ack", "refresh", "ping",
	}
}

// readID returns a frame's id, or 0 if it has none that can be read: the frame as a whole is then refused.
func readID(members map[string]json.RawMessage) uint32 {
	raw, ok := members["id"]
	if !ok {
		return 0
	}
	var m millracev1.ClientFrame
	if unmarshalJSON(map[string]json.RawMessage{"id": raw}, &m) != nil {
		return 0
	}
	return m.GetId()
}

func unmarshalJSON(members map[string]json.RawMessage, m proto.Message) error {
	b, err := json.Marshal(members)
	if err != nil {
		return err
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, m)
}

// coverData puts the base64 of the member data in place of its JSON text, and with it the command's body into ProtoJSON.
func coverData(body json.RawMessage) (json.RawMessage, *millrace.Error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil || members == nil {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "what a command says must be a JSON object")
	}
	data, ok := members["data"]
	if !ok {
		return body, nil
	}
	covered := make([]byte, 0, base64.StdEncoding.EncodedLen(len(data))+2)
	covered = append(covered, '"')
	covered = base64.StdEncoding.AppendEncode(covered, data)
	members["data"] = append(covered, '"')
	b, err := json.Marshal(members)
	if err != nil {
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "what the command says can't be read")
	}
	return b, nil
}

// syntax returns what is wrong in words for the peer's developer, without the reader's own name. The reader of protobuf
// varies a space in its messages, so that nobody matches them, and may repeat what it read at any length.
func syntax(err error) string {
	const most = 200
	text := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: ")
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(text, "")
}
