package rpc

import (
	"sync"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// codec is the server's codec: that of protobuf, but for responses whose bytes are there already and for requests whose
// reader wants to name what is wrong with them.
type codec struct {
	fallback encoding.CodecV2
}

func newCodec() codec { return codec{fallback: encoding.GetCodecV2(protocodec.Name)} }

// Name implements encoding.CodecV2.
func (codec) Name() string { return protocodec.Name }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if p, ok := v.(*prepared); ok {
		return p.parts, nil
	}
	return c.fallback.Marshal(v)
}

// Unmarshal implements encoding.CodecV2. Of an incoming message it never fails, since what it fails with gRPC would send
// to the peer in words of its own.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	in, ok := v.(*incoming)
	if !ok {
		return c.fallback.Unmarshal(data, v)
	}
	if n := data.Len(); n > in.limit {
		in.refusal = millrace.Errorf(millrace.ReasonTooLarge, "the message has %d bytes; at most %d are allowed", n, in.limit)
		return nil
	}
	whole := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer whole.Free()
	if !fewFields(whole.ReadOnlyData()) {
		in.refusal = millrace.Errorf(millrace.ReasonTooLarge, "the message has more than %d elements", maxFields)
		return nil
	}
	if err := c.fallback.Unmarshal(mem.BufferSlice{whole}, in.message); err != nil {
		in.refusal = millrace.Errorf(millrace.ReasonBadRequest, "the message can't be read as protobuf of its type").WithCause(err)
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

// incoming is a message that is to be read, and then what was wrong with it.
type incoming struct {
	message any
	limit   int // in bytes
	refusal *millrace.Error
}

// prepared is a response that is bytes already. Its parts are given to gRPC by sending it, once.
type prepared struct {
	parts mem.BufferSlice
}

// buffers are what messages are put together in. They come back when the transport is done with them.
type buffers struct {
	pool sync.Pool // of *[]byte
}

const (
	newBufferBytes  = 8 << 10
	keptBufferBytes = 1 << 20 // larger ones are left to the garbage collector
)

// Get implements mem.BufferPool.
func (b *buffers) Get(length int) *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok && cap(*p) >= length {
		*p = (*p)[:length]
		return p
	}
	p := make([]byte, length, max(length, newBufferBytes))
	return &p
}

// Put implements mem.BufferPool.
func (b *buffers) Put(p *[]byte) {
	if cap(*p) <= keptBufferBytes {
		b.pool.Put(p)
	}
}

// Fields that the composer writes itself.
const (
	fieldUpdates = 1 // of JoinResponse and of SubscribeResponse
	fieldAlias   = 1 // of Update
	fieldEvents  = 3 // of Update
)

// spliceBytes is the size from which on an event's data is not copied into the message but made a part of it. Below it
// the copy is cheaper than what the transport does for one more part.
const spliceBytes = 8 << 10

// composer puts together the bytes of one JoinResponse or SubscribeResponse after another. Events are not encoded for it:
// their envelopes are made once for all streams. It belongs to one goroutine.
type composer struct {
	buffers *buffers

	head   *[]byte // what is written and not yet a part; nil if there is nothing
	parts  mem.BufferSlice
	bytes  int // in head and parts
	events int
}

func (c *composer) empty() bool { return c.bytes == 0 }

// update adds any update.
func (c *composer) update(u *millracev1.Update) {
	b := c.open()
	before := len(*b)
	*b = protowire.AppendTag(*b, fieldUpdates, protowire.BytesType)
	*b = protowire.AppendVarint(*b, uint64(proto.Size(u)))
	grown, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(*b, u)
	if err != nil {
		// Only text that is not UTF-8 fails, and what came in by protobuf or passed admission is.
		panic("rpc: an update can't be encoded: " + err.Error())
	}
	*b = grown
	c.bytes += len(grown) - before
}

// batch adds an update with events of the subscription with an alias, which must be at least one.
func (c *composer) batch(alias uint32, events []*millrace.Event) {
	size := 0
	for _, e := range events {
		size += elementSize(e)
	}
	b := c.open()
	before := len(*b)
	*b = protowire.AppendTag(*b, fieldUpdates, protowire.BytesType)
	*b = protowire.AppendVarint(*b, uint64(protowire.SizeTag(fieldAlias)+protowire.SizeVarint(uint64(alias))+
		protowire.SizeTag(fieldEvents)+protowire.SizeBytes(size)))
	*b = protowire.AppendTag(*b, fieldAlias, protowire.VarintType)
	*b = protowire.AppendVarint(*b, uint64(alias))
	*b = protowire.AppendTag(*b, fieldEvents, protowire.BytesType)
	*b = protowire.AppendVarint(*b, uint64(size))
	c.bytes += len(*b) - before + size
	for _, e := range events {
		b := c.open()
		*b = append(*b, envelope(e)...)
		if len(e.Data) < spliceBytes {
			*b = append(*b, e.Data...)
			continue
		}
		c.seal()
		c.parts = append(c.parts, mem.SliceBuffer(e.Data))
	}
	c.events += len(events)
}

// take returns the message and begins another.
func (c *composer) take() *prepared {
	c.seal()
	p := &prepared{parts: c.parts}
	c.parts, c.bytes, c.events = nil, 0, 0
	return p
}

func (c *composer) open() *[]byte {
	if c.head == nil {
		c.head = c.buffers.Get(0)
	}
	return c.head
}

// seal makes what is written a part.
func (c *composer) seal() {
	if c.head != nil && len(*c.head) > 0 {
		c.parts = append(c.parts, mem.NewBuffer(c.head, c.buffers))
		c.head = nil
	}
}

// drop lets go of a message that will not be sent.
func (c *composer) drop() { c.take().parts.Free() }

// envelope returns what stands before the event's data in any message.
func envelope(e *millrace.Event) []byte { return e.Envelope(wire.EventEnvelope) }

// elementSize returns how many bytes the event has in any message.
func elementSize(e *millrace.Event) int { return len(envelope(e)) + len(e.Data) }
