package httpapi

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
)

// Token returns the token of a request: that of the Authorization header, else that of the query, else "".
func Token(r *http.Request) string {
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token)
	}
	return r.URL.Query().Get("token")
}

// ReadOpening reads what a peer asks for by the URL that it connects with: topic (any number), start, cursor, heartbeats.
// Only the grant is left to be filled in.
func ReadOpening(query url.Values) (gateway.Opening, *millrace.Error) {
	o := gateway.Opening{Cursor: query.Get("cursor")}
	start, err := ReadStart(query.Get("start"))
	if err != nil {
		return o, err
	}
	for _, topic := range query["topic"] {
		// A copy, or the topic's name would keep the whole URL in memory, and the token in it.
		o.Topics = append(o.Topics, gateway.Subscribe{Topic: strings.Clone(topic), Start: start})
	}
	switch text := query.Get("heartbeats"); text {
	case "", "0":
	case "1":
		o.Heartbeats = true
	default:
		return o, millrace.Errorf(millrace.ReasonBadRequest, "heartbeats is 0 or 1, not %.64q", text)
	}
	return o, nil
}

// ReadStart reads a start as URLs have it: now, earliest, last=N, since=T or after=OFFSET-MARK, where T is a time of
// RFC 3339 or in milliseconds since 1970 UTC. Empty is as the class of the topic has it.
func ReadStart(text string) (millrace.Start, *millrace.Error) {
	kind, value, _ := strings.Cut(text, "=")
	switch {
	case text == "":
		return millrace.Start{}, nil
	case text == "now":
		return millrace.Start{Kind: millrace.StartNow}, nil
	case text == "earliest":
		return millrace.Start{Kind: millrace.StartEarliest}, nil
	case kind == "last":
		if n, err := strconv.ParseUint(value, 10, 31); err == nil {
			return millrace.Start{Kind: millrace.StartLast, Count: int(n)}, nil
		}
	case kind == "since":
		if ms, err := strconv.ParseInt(value, 10, 64); err == nil {
			return millrace.Start{Kind: millrace.StartSince, Since: time.UnixMilli(ms)}, nil
		}
		if t, err := time.Parse(time.RFC3339, value); err == nil {
			return millrace.Start{Kind: millrace.StartSince, Since: t}, nil
		}
	case kind == "after":
		if p, err := millrace.ParsePosition(value); err == nil {
			return millrace.After(p), nil
		}
	}
	return millrace.Start{}, millrace.Errorf(millrace.ReasonBadRequest,
		"start is now, earliest, last=N, since=TIME or after=OFFSET-MARK, not %.64q", text)
}
