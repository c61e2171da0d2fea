package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"testing"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/httpapi"
)

const members = "/v1/topics/chat:1/members"

// Protocol 6.8 and 12.21.
func TestMembersAreReadInPages(t *testing.T) {
	h := build(t)
	h.wants(200, `{"topic":"chat:1","count":0,"subjects":0,"asOf":{"offset":"0","mark":"0"}}`, "GET", members, "")
	for i := range 5 {
		_, err := h.broker.Enroll(context.Background(), []millrace.MemberChange{{
			Kind: millrace.MemberJoin, Topic: "chat:1", Member: millrace.Member{Session: fmt.Sprint("s", i), Subject: "alice", Data: []byte(`{"n": 1}`)},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	h.wants(200, `{"topic":"chat:1","count":5,"subjects":1,"asOf":{"offset":"6",`, "GET", members+"?count=1", "")
	var page struct {
		Topic   string
		Members []struct {
			Session, Subject, JoinedMs string
			Data                       json.RawMessage
		}
		Count    int
		NextPage string
	}
	for i, want := range []int{2, 2, 1} {
		text := h.wants(200, "", "GET", members+"?limit=2&page="+url.QueryEscape(page.NextPage), "")
		page.Members, page.NextPage = nil, ""
		if err := json.Unmarshal([]byte(text), &page); err != nil || page.Topic != "chat:1" || page.Count != 5 || len(page.Members) != want || (page.NextPage == "") != (i == 2) {
			t.Errorf("page %d: %s, %v", i, text, err)
		}
		for _, m := range page.Members {
			if m.Subject != "alice" || m.Session == "" || m.JoinedMs == "" || string(m.Data) != `{"n": 1}` {
				t.Errorf("page %d: %+v", i, m)
			}
		}
	}
}

func TestMembersAreForWhoMaySeeThem(t *testing.T) {
	h := build(t)
	h.wants(403, `"forbidden"`, "GET", members+"?token=reader", "")
	h.wants(401, `"unauthorized"`, "GET", members+"?token=mallory", "")
	h.wants(400, `"topic_invalid"`, "GET", "/v1/topics/a%20b/members", "")
	for _, bad := range []string{"limit=0", "limit=x", "limit=-1", "count=2"} {
		h.wants(400, `"bad_request"`, "GET", members+"?"+bad, "")
	}
	h.wants(405, `"unsupported"`, "POST", members, "")
	h.broker.FailMembers(millrace.Errorf(millrace.ReasonUnavailable, "away"))
	h.wants(503, `"unavailable"`, "GET", members, "")
}

// Protocol 1.3 and 12.22.
func TestTheURLSaysWhatToJoinAndWhatToShow(t *testing.T) {
	now := millrace.Start{Kind: millrace.StartNow}
	topic := func(name string, members bool) gateway.Subscribe {
		return gateway.Subscribe{Topic: name, Start: now, Members: members}
	}
	for query, want := range map[string]gateway.Opening{
		"topic=a":                     {Topics: []gateway.Subscribe{topic("a", false)}},
		"topic=a&topic=a:*&members=1": {Topics: []gateway.Subscribe{topic("a", true), topic("a:*", false)}},
		"join=a&join=b&topic=c&info=" + url.QueryEscape(`{"n": "é"}`): {
			Topics: []gateway.Subscribe{topic("c", false)},
			Joins:  []gateway.Join{{Subscribe: topic("a", true), Data: []byte(`{"n": "é"}`)}, {Subscribe: topic("b", true), Data: []byte(`{"n": "é"}`)}},
		},
		"join=a&topic=b&members=0": {Topics: []gateway.Subscribe{topic("b", false)}, Joins: []gateway.Join{{Subscribe: topic("a", false)}}},
		"join=a&topic=b&members=1": {Topics: []gateway.Subscribe{topic("b", true)}, Joins: []gateway.Join{{Subscribe: topic("a", true)}}},
	} {
		values, err := url.ParseQuery("start=now&" + query)
		if err != nil {
			t.Fatal(err)
		}
		got, refusal := httpapi.ReadOpening(values)
		if refusal != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v; want %+v", query, got, refusal, want)
		}
	}
	for _, query := range []string{"join=a&info=name", "join=a&info=%7B", "info=1+2", "info=%22%FF%22", "topic=a&members=yes"} {
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, refusal := httpapi.ReadOpening(values); refusal == nil || refusal.Reason != millrace.ReasonBadRequest {
			t.Errorf("%s: %v", query, refusal)
		}
	}
}
