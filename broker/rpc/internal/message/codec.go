// Package message is how messages become bytes and bytes messages at the broker's front. What goes out to many is not encoded
// for each: a [Composer] puts a response together from bytes that were made once, and the [Codec] lets it pass. What comes
// in is bounded before it is read, and what is wrong with it is kept for its reader, who names it in our own words.
package message

import (
	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/millrace-dev/millrace"
)

// Codec is the server's codec: that of protobuf, but for responses whose bytes are there already and for requests whose
// reader wants to name what is wrong with them.
type Codec struct {
	fallback encoding.CodecV2
}

// NewCodec returns the codec.
func NewCodec() Codec { return Codec{fallback: encoding.GetCodecV2(protocodec.Name)} }

// Name implements encoding.CodecV2.
func (Codec) Name() string { return protocodec.Name }

// Marshal implements encoding.CodecV2.
func (c Codec) Marshal(v any) (mem.BufferSlice, error) {
	if p, ok := v.(*prepared); ok {
		return p.parts, nil
	}
	return c.fallback.Marshal(v)
}

// Unmarshal implements encoding.CodecV2. Of an incoming message it never fails, since what it fails with gRPC would send
// to the peer in words of its own.
func (c Codec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*Incoming)
	if !ok {
		return c.fallback.Unmarshal(data, v)
	}
	if n := data.Len(); n > in.Limit {
		in.Refusal = millrace.Errorf(millrace.ReasonTooLarge, "the message has %d bytes; at most %d are allowed", n, in.Limit)
		return nil
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	if !fewFields(whole.ReadOnlyData()) {
		in.Refusal = millrace.Errorf(millrace.ReasonTooLarge, "the message has more than %d elements", maxFields)
		return nil
	}
	if err := c.fallback.Unmarshal(mem.BufferSlice{whole}, in.Message); err != nil {
		in.Refusal = millrace.Errorf(millrace.ReasonBadRequest, "the message can't be read as protobuf of its type").WithCause(err)
	}
	return nil
}

// maxFields bounds the elements of a message. An empty one has two bytes on the wire and some hundred in memory, so that
// the bytes alone bound little.
const maxFields = 64 << 10

// fewFields reports whether a message has no more elements than allowed. One that can't be read has.
func fewFields(b []byte) bool {
	const smallest = 2 // a tag and a value or length
	if len(b) <= smallest*maxFields {
		return true
	}
	for n := 0; len(b) > 0; n++ {
		_, _, size := protowire.ConsumeField(b)
		if size < 0 {
			return true
		}
		if n == maxFields {
			return false
		}
		b = b[size:]
	}
	return true
}

// Incoming is a message that is to be read, and then what was wrong with it.
type Incoming struct {
	Message any
	Limit   int // in bytes
	Refusal *millrace.Error
}
