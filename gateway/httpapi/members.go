package httpapi

import (
	"net/http"
	"net/url"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/gateway"
	"github.com/millrace-dev/millrace/gateway/frame"
)

// members reads a page of who is in a topic.
func (h *Handler) members(w http.ResponseWriter, r *http.Request) {
	grant, err := h.grant(r)
	if err != nil {
		WriteError(w, err)
		return
	}
	asked, err := readMemberRange(r.URL.Query())
	if err != nil {
		WriteError(w, err)
		return
	}
	topic := r.PathValue("topic")
	ctx, cancel := h.bounded(r)
	defer cancel()
	page, failed := h.gateway.Members(ctx, grant, topic, asked)
	if failed != nil {
		WriteError(w, millrace.AsError(failed))
		return
	}
	writeJSON(w, http.StatusOK, frame.AppendBody(nil, gateway.Presence{Topic: topic, Page: page}))
}

// readMemberRange reads limit, page and count.
func readMemberRange(query url.Values) (millrace.MemberRange, *millrace.Error) {
	asked := millrace.MemberRange{Page: query.Get("page")}
	countOnly, err := readSwitch("count", query.Get("count"))
	if err != nil {
		return asked, err
	}
	if asked.Limit, err = readLimit(query.Get("limit")); err != nil {
		return asked, err
	}
	if countOnly {
		asked.Limit = -1
	}
	return asked, nil
}
