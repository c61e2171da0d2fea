package message

import (
	"sync"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
	"github.com/millrace-dev/millrace/proto/wire"
)

// prepared is a response that is bytes already. Its parts are given to gRPC by sending it, once.
type prepared struct {
	parts mem.BufferSlice
}

// Buffers are what messages are put together in. They come back when the transport is done with them. The zero value is
// ready, and may be used concurrently.
type Buffers struct {
	pool sync.Pool // of *[]byte
}

const (
	newBufferBytes  = 8 << 10
	keptBufferBytes = 1 << 20 // larger ones are left to the garbage collector
)

// Get implements mem.BufferPool.
func (b *Buffers) Get(length int) *[]byte {
	if p, ok := b.pool.Get().(*[]byte); ok && cap(*p) >= length {
		*p = (*p)[:length]
		return p
	}
	p := make([]byte, length, max(length, newBufferBytes))
	return &p
}

// Put implements mem.BufferPool.
func (b *Buffers) Put(p *[]byte) {
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

// Composer puts together the bytes of one JoinResponse or SubscribeResponse after another. Events are not encoded for it:
// their envelopes are made once for all streams. It belongs to one goroutine.
type Composer struct {
	buffers *Buffers

	head   *[]byte // what is written and not yet a part; nil if there is nothing
	parts  mem.BufferSlice
	bytes  int // in head and parts
	events int
}

// NewComposer returns a composer that takes its buffers from a pool.
func NewComposer(b *Buffers) Composer { return Composer{buffers: b} }

// Bytes is the size of the message so far.
func (c *Composer) Bytes() int { return c.bytes }

// Events is how many events are in the message so far.
func (c *Composer) Events() int { return c.events }

// Empty reports whether there is nothing in the message yet.
func (c *Composer) Empty() bool { return c.bytes == 0 }

// Update adds any update.
func (c *Composer) Update(u *millracev1.Update) {
	b := c.open()
	before := len(*b)
	*b = protowire.AppendTag(*b, fieldUpdates, protowire.BytesType)
	*b = protowire.AppendVarint(*b, uint64(proto.Size(u)))
	grown, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(*b, u)
	if err != nil {
		// Only text that is not UTF-8 fails, and what came in by protobuf or passed admission is.
		panic("message: an update can't be encoded: " + err.Error())
	}
	*b = grown
	c.bytes += len(grown) - before
}

// Batch adds an update with events of the subscription with an alias, which must be at least one.
func (c *Composer) Batch(alias uint32, events []*millrace.Event) {
	size := 0
	for _, e := range events {
		size += Size(e)
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
		*b = append(*b, Envelope(e)...)
		if len(e.Data) < spliceBytes {
			*b = append(*b, e.Data...)
			continue
		}
		c.seal()
		c.parts = append(c.parts, mem.SliceBuffer(e.Data))
	}
	c.events += len(events)
}

// Take returns the message, which only the codec can read, and begins another.
func (c *Composer) Take() any { return c.compose() }

func (c *Composer) compose() *prepared {
	c.seal()
	p := &prepared{parts: c.parts}
	c.parts, c.bytes, c.events = nil, 0, 0
	return p
}

func (c *Composer) open() *[]byte {
	if c.head == nil {
		c.head = c.buffers.Get(0)
	}
	return c.head
}

// seal makes what is written a part.
func (c *Composer) seal() {
	if c.head != nil && len(*c.head) > 0 {
		c.parts = append(c.parts, mem.NewBuffer(c.head, c.buffers))
		c.head = nil
	}
}

// Drop lets go of a message that will not be sent.
func (c *Composer) Drop() { c.compose().parts.Free() }

// Envelope returns what stands before the event's data in any message.
func Envelope(e *millrace.Event) []byte { return e.Envelope(wire.EventEnvelope) }

// Size returns how many bytes the event has in any message.
func Size(e *millrace.Event) int { return len(Envelope(e)) + len(e.Data) }
