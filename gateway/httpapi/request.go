package httpapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

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

// ReadOpening reads what a peer asks for by the URL that it connects with: topic and join (any number), info, members, start,
// filter, maxRate, cursor, heartbeats. Only the grant is left to be filled in.
func ReadOpening(query url.Values) (gateway.Opening, *millrace.Error) {
	o := gateway.Opening{Cursor: query.Get("cursor")}
	start, err := ReadStart(query.Get("start"))
	if err != nil {
		return o, err
	}
	if o.Wish, err = readWish(query); err != nil {
		return o, err
	}
	want := func(topic string) gateway.Subscribe {
		// A copy, or the topic's name would keep the whole URL in memory, and the token in it.
		return gateway.Subscribe{Topic: strings.Clone(topic), Start: start, Filter: o.Wish.Filter, MaxRate: o.Wish.MaxRate}
	}
	members, err := readSwitch("members", query.Get("members"))
	if err != nil {
		return o, err
	}
	for _, topic := range query["topic"] {
		c := want(topic)
		c.Members = members && millrace.Pattern(topic).IsTopic()
		o.Topics = append(o.Topics, c)
	}
	info, err := readInfo(query.Get("info"))
	if err != nil {
		return o, err
	}
	for _, topic := range query["join"] {
		c := want(topic)
		c.Members = members || query.Get("members") == ""
		o.Joins = append(o.Joins, gateway.Join{Subscribe: c, Data: info})
	}
	o.Heartbeats, err = readSwitch("heartbeats", query.Get("heartbeats"))
	return o, err
}

// readInfo reads what a member shows of itself.
func readInfo(text string) ([]byte, *millrace.Error) {
	switch {
	case text == "":
		return nil, nil
	case !utf8.ValidString(text), !json.Valid([]byte(text)):
		return nil, millrace.Errorf(millrace.ReasonBadRequest, "info is one JSON text, not %.64q", text)
	}
	return []byte(text), nil
}

// readSwitch reads what is on (1) or off (0, or nothing).
func readSwitch(name, text string) (bool, *millrace.Error) {
	switch text {
	case "", "0":
		return false, nil
	case "1":
		return true, nil
	}
	return false, millrace.Errorf(millrace.ReasonBadRequest, "%s is 0 or 1, not %.64q", name, text)
}

// readWish reads filter and maxRate.
func readWish(query url.Values) (millrace.Option, *millrace.Error) {
	var o millrace.Option
	filter, err := millrace.ParseFilter(strings.Clone(query.Get("filter"))) // for the same reason a copy
	if err != nil {
		return o, millrace.AsError(err)
	}
	o.Filter = filter
	if text := query.Get("maxRate"); text != "" {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return o, millrace.Errorf(millrace.ReasonBadRequest, "maxRate is a number, not %.64q", text)
		}
		o.MaxRate = rate
	}
	return o, millrace.AsError(millrace.ValidateMaxRate(o.MaxRate))
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
