package rpc

import (
	"sync"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/millrace-dev/millrace"
)

// codec is the server's codec: that of protobuf, but for responses whose bytes are there already and for requests whose
// reader wants to name what is wrong with them.
type codec struct {
	fallback encoding.CodecV2
}

func newCodec() codec { return codec{fallback: encoding.GetCodecV2(proto.Name)} }

// Name implements encoding.CodecV2.
func (codec) Name() string { return proto.Name }

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
	if err := c.fallback.Unmarshal(data, in.message); err != nil {
		in.refusal = millrace.Errorf(millrace.ReasonBadRequest, "the message can't be read as protobuf of its type").WithCause(err)
	}
	return nil
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
