package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/millrace-dev/millrace"
)

// postSender publishes by POST, at one gateway after the other.
type postSender struct {
	world  *World
	token  string
	chance *rand.Rand
	doors  []string
	client *http.Client
}

func newPostSender(w *World, token string, chance *rand.Rand) *postSender {
	return &postSender{
		world: w, token: token, chance: chance, doors: slices.Concat(w.WebSocket, w.SSE),
		client: &http.Client{Timeout: answerTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 1}},
	}
}

func (s *postSender) send(ctx context.Context, batch []publication) {
	for i := range batch {
		s.world.persist(ctx, s.chance, &batch[i], s.post)
	}
}

// persist tries until a publish is answered. The error of a try that may be repeated is retryable.
func (w *World) persist(ctx context.Context, chance *rand.Rand, e *publication, try func(context.Context, *publication) (millrace.Position, *millrace.Error)) {
	for ctx.Err() == nil {
		at, err := try(ctx, e)
		if err == nil || !err.Reason.Outcome().Retryable {
			w.settle(e, millrace.Ack{Position: at}, err)
			return
		}
		if e.once() {
			return
		}
		w.Counts.Retries.Add(1)
		if !pause(ctx, err.RetryAfter+time.Duration(20+chance.IntN(200))*time.Millisecond) {
			return
		}
	}
}

func (s *postSender) post(ctx context.Context, e *publication) (millrace.Position, *millrace.Error) {
	u := "http://" + pick(s.chance, s.doors) + "/v1/topics/" + url.PathEscape(e.Topic) + "/events"
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u, bytes.NewReader(e.data))
	if err != nil {
		return millrace.Position{}, millrace.AsError(err)
	}
	r.Header.Set("Authorization", "Bearer "+s.token)
	r.Header.Set("Millrace-Event-Name", e.kind())
	if !e.once() { // with an id the gateway may send it again
		r.Header.Set("Millrace-Event-Id", e.name())
	}
	if e.Key != "" {
		r.Header.Set("Millrace-Event-Key", e.Key)
	}
	if e.Tombstone {
		r.Header.Set("Millrace-Event-Tombstone", "1")
	}
	resp, err := s.client.Do(r)
	if err != nil {
		return millrace.Position{}, cut(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return millrace.Position{}, cut(err)
	}
	var answer struct {
		place

		Error *trouble `json:"error"`
	}
	if err := json.Unmarshal(b, &answer); err != nil {
		return millrace.Position{}, millrace.Errorf(millrace.ReasonBadRequest, "the answer %s %.200q can't be read: %v", resp.Status, b, err)
	}
	if answer.Error != nil {
		return millrace.Position{}, answer.Error.error()
	}
	return millrace.Position(answer.Position), nil
}

func (s *postSender) close() { s.client.CloseIdleConnections() }

// cut says that a connection failed, after which nothing is known.
func cut(err error) *millrace.Error {
	return millrace.Errorf(millrace.ReasonUnavailable, "the connection failed").WithCause(err)
}

func (t *trouble) error() *millrace.Error {
	return &millrace.Error{Reason: t.Reason, Message: t.Message, RetryAfter: t.after(), Cause: errors.New(fmt.Sprint("told by the server: ", t.Reason))}
}
