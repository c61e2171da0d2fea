package wsgateway_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/wsgateway"
)

// Opcodes with the bit that ends a message.
const (
	text  = 0x81
	bin   = 0x82
	end   = 0x80
	bye   = 0x88
	ping  = 0x89
	pong  = 0x8a
	first = 0x01 // of several frames
	more  = 0x00
)

// sent is a client's frame: masked, with the length in its shortest form.
func sent(opcode byte, body string) []byte {
	mask := [4]byte{0x12, 0x34, 0x56, 0xff}
	b := []byte{opcode}
	switch n := len(body); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(b, mask[:]...)
	for i := range len(body) {
		b = append(b, body[i]^mask[i%4])
	}
	return b
}

// RFC 6455 section 5.
func TestMessagesAreReadWholeHoweverTheyArrive(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)
	stream := slices.Concat(
		sent(text, ""), sent(text, "one"), sent(bin, "\x00\xff"),
		sent(ping, ""), sent(pong, "p"), sent(ping, strings.Repeat("p", 125)),
		sent(first, "a"), sent(ping, "within"), sent(more, ""), sent(more, long[:300]), sent(end, "z"),
		sent(text, long[:125]), sent(text, long[:126]), sent(text, long[:249]), sent(text, long[:256]), sent(text, long[:65535]), sent(bin, long),
		sent(text, "last"),
	)
	want := []wsgateway.Received{
		{1, ""},
		{1, "one"},
		{2, "\x00\xff"},
		{9, ""},
		{10, "p"},
		{9, strings.Repeat("p", 125)},
		{9, "within"},
		{1, "a" + long[:300] + "z"},
		{1, long[:125]},
		{1, long[:126]},
		{1, long[:249]},
		{1, long[:256]},
		{1, long[:65535]},
		{2, long},
		{1, "last"},
	}
	for name, source := range map[string]io.Reader{
		"at once":          bytes.NewReader(stream),
		"byte by byte":     iotest.OneByteReader(bytes.NewReader(stream)),
		"in halves":        iotest.HalfReader(bytes.NewReader(stream)),
		"with its end":     iotest.DataErrReader(bytes.NewReader(stream)),
		"half, then error": iotest.DataErrReader(iotest.HalfReader(bytes.NewReader(stream))),
	} {
		got, err := wsgateway.ReadFrames(source, uint64(len(long)))
		if !errors.Is(err, io.EOF) || !slices.Equal(got, want) {
			t.Errorf("%s: got %d of %d, %v", name, len(got), len(want), err)
		}
	}
}

func TestWhatBreaksTheWebSocketProtocolIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		stream []byte
		want   string // of the message; "" for a proper end
	}{
		"a frame without a mask":               {[]byte{text, 1, 'x'}, "mask"},
		"a reserved bit":                       {sent(text|0x40, "x"), "reserved"},
		"an unknown opcode":                    {sent(0x83, "x"), "opcode 3"},
		"an unknown control opcode":            {sent(0x8b, "x"), "opcode 11"},
		"a continuation of nothing":            {sent(end, "x"), "continuation"},
		"a message within another":             {slices.Concat(sent(first, "x"), sent(text, "y")), "within"},
		"a ping in parts":                      {sent(0x09, "x"), "control"},
		"a ping that is too long":              {sent(ping, strings.Repeat("x", 126)), "control"},
		"a message beyond the limit":           {sent(text, strings.Repeat("x", 1001)), "at most 1000"},
		"a message beyond the limit in sum":    {slices.Concat(sent(first, strings.Repeat("x", 600)), sent(end, strings.Repeat("x", 401))), "at most 1000"},
		"a length beyond all":                  {slices.Concat([]byte{text, 0xff}, bytes.Repeat([]byte{0xff}, 12)), "at most 1000"},
		"a close frame of one byte":            {sent(bye, "x"), "close"},
		"a close code that can't be sent":      {sent(bye, "\x03\xee"), "close"},
		"a close text that is not UTF-8":       {sent(bye, "\x03\xe8\xff"), "close"},
		"a close frame":                        {sent(bye, ""), ""},
		"a close frame with a code":            {sent(bye, "\x03\xe8bye"), ""},
		"a close frame with a code of its own": {sent(bye, "\x0b\xb8"), ""},
	} {
		_, err := wsgateway.ReadFrames(bytes.NewReader(c.stream), 1000)
		if c.want == "" {
			if !errors.Is(err, wsgateway.ErrClosed) {
				t.Errorf("%s: got %v", name, err)
			}
			continue
		}
		if e, ok := errors.AsType[*millrace.Error](err); !ok || !strings.Contains(e.Message, c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

// FuzzReadFrames holds that any bytes come to messages within the limit and then an end that has a name, however they
// arrive.
func FuzzReadFrames(f *testing.F) {
	f.Add(slices.Concat(sent(first, "a"), sent(ping, "p"), sent(end, strings.Repeat("z", 300)), sent(bye, "\x03\xe8bye")))
	f.Add(sent(text, `{"id":1,"subscribe":{"topic":"chat:1"}}`))
	f.Add(slices.Concat([]byte{text, 0xff}, bytes.Repeat([]byte{0xff}, 12)))
	f.Add([]byte{0x81, 0xfe, 0, 5, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, stream []byte) {
		const most = 400
		got, err := wsgateway.ReadFrames(bytes.NewReader(stream), most)
		_, named := errors.AsType[*millrace.Error](err)
		if !named && !errors.Is(err, io.EOF) && !errors.Is(err, wsgateway.ErrClosed) {
			t.Errorf("ended with %v", err)
		}
		for _, m := range got {
			if len(m.Body) > most {
				t.Errorf("a message of %d bytes", len(m.Body))
			}
		}
		again, err2 := wsgateway.ReadFrames(iotest.OneByteReader(bytes.NewReader(stream)), most)
		if !slices.Equal(got, again) || err.Error() != err2.Error() {
			t.Errorf("at once %v %v, byte by byte %v %v", got, err, again, err2)
		}
	})
}
