package sdk

import (
	"context"
	"iter"

	"github.com/millrace-dev/millrace"
	"github.com/millrace-dev/millrace/proto/wire"
)

// Members reads a page of a topic's members. It is tried once.
func (l *Link) Members(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error) {
	return l.client.members(ctx, topic, r, l.client.once)
}

// MemberPage reads a page of a topic's members, or fails with a *millrace.Error. While the broker can't be reached it tries
// again until ctx ends.
func (c *Client) MemberPage(ctx context.Context, topic string, r millrace.MemberRange) (millrace.MemberPage, error) {
	return c.members(ctx, topic, r, c.retry)
}

func (c *Client) members(ctx context.Context, topic string, r millrace.MemberRange, by caller) (millrace.MemberPage, error) {
	// What can't be put into a message is no topic.
	if err := millrace.ValidateTopic(topic); err != nil {
		return millrace.MemberPage{}, err
	}
	request := wire.PresenceRequest(topic, r)
	var page millrace.MemberPage
	err := by(ctx, func(ctx context.Context, broker stubs) error {
		response, err := broker.Presence(ctx, request)
		if err != nil {
			return err
		}
		page = wire.ParseMemberPage(response)
		return nil
	})
	return page, err
}

// MemberCounts returns how many members a topic has, and how many distinct subjects they have. It is otherwise as MemberPage.
func (c *Client) MemberCounts(ctx context.Context, topic string) (members, subjects int, err error) {
	page, err := c.MemberPage(ctx, topic, millrace.MemberRange{Limit: -1})
	return page.Count, page.Subjects, err
}

// Members returns the members of a topic, in no promised order, reading page by page as the loop goes on. Who comes or goes
// meanwhile may be among them or not; for a list that is right and stays so there is WatchMembers. An error is the last.
func (c *Client) Members(ctx context.Context, topic string) iter.Seq2[millrace.Member, error] {
	return func(yield func(millrace.Member, error) bool) {
		for page, err := range c.memberPages(ctx, topic) {
			if err != nil {
				yield(millrace.Member{}, err)
				return
			}
			for _, m := range page.Members {
				if !yield(m, nil) {
					return
				}
			}
		}
	}
}

// memberPages reads all pages of a topic's members, each when the loop comes to it. An error is the last.
func (c *Client) memberPages(ctx context.Context, topic string) iter.Seq2[millrace.MemberPage, error] {
	return func(yield func(millrace.MemberPage, error) bool) {
		for at := (millrace.MemberRange{}); ; {
			page, err := c.MemberPage(ctx, topic, at)
			if !yield(page, err) || err != nil || page.Next == "" {
				return
			}
			at.Page = page.Next
		}
	}
}
