package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/millrace-dev/millrace"
)

// member is a member as presence prints it: the fields of the contract's Member in JSON, its data as it stands.
type member struct {
	Session  string          `json:"session"`
	Subject  string          `json:"subject,omitempty"`
	JoinedMs string          `json:"joinedMs,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
}

// Member returns the line of a member.
func Member(m millrace.Member) any { return memberOf(m) }

func memberOf(m millrace.Member) member {
	line := member{Session: m.Session, Subject: m.Subject, Data: m.Data}
	if !m.Joined.IsZero() {
		line.JoinedMs = strconv.FormatInt(m.Joined.UnixMilli(), 10)
	}
	return line
}

type changeLine struct {
	Joined  *member `json:"joined,omitempty"`
	Updated *member `json:"updated,omitempty"`
	Left    *member `json:"left,omitempty"`
}

// Change returns the line that tells what became of a member.
func Change(kind millrace.MemberEventKind, m millrace.Member) any {
	line := memberOf(m)
	switch kind {
	case millrace.MemberUpdated:
		return changeLine{Updated: &line}
	case millrace.MemberLeft:
		line.Data, line.JoinedMs = nil, ""
		return changeLine{Left: &line}
	default:
		return changeLine{Joined: &line}
	}
}

type countsLine struct {
	Members  int `json:"members"`
	Subjects int `json:"subjects"`
}

// Counts returns the line of how many members there are.
func Counts(members, subjects int) any { return countsLine{Members: members, Subjects: subjects} }

// CountText says for people how many members there are.
func CountText(members, subjects int) string {
	return plural(members, "member") + ", " + plural(subjects, "subject")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}

// anonymous stands in a table where a session has no subject.
const anonymous = "-"

// Table writes members as a table, the oldest first, as of a moment. It sorts the slice.
func Table(w io.Writer, members []millrace.Member, now time.Time) error {
	slices.SortFunc(members, func(a, b millrace.Member) int {
		if c := a.Joined.Compare(b.Joined); c != 0 {
			return c
		}
		return strings.Compare(a.Session, b.Session)
	})
	var b bytes.Buffer
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SESSION\tSUBJECT\tJOINED\tDATA")
	for _, m := range members {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", Printable(m.Session), subject(m), ago(now.Sub(m.Joined)), data(m))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for line := range bytes.Lines(b.Bytes()) {
		if _, err := fmt.Fprintln(w, string(bytes.TrimRight(line, " \n"))); err != nil {
			return err
		}
	}
	return nil
}

// ChangeText tells for people what became of a member.
func ChangeText(kind millrace.MemberEventKind, m millrace.Member, now time.Time) string {
	text := fmt.Sprintf("%s  %-7s  %s  %s", now.Format(time.TimeOnly), kind, Printable(m.Session), subject(m))
	if d := data(m); kind != millrace.MemberLeft && d != "" {
		text += "  " + d
	}
	return text
}

func subject(m millrace.Member) string {
	if m.Subject == "" {
		return anonymous
	}
	return Printable(m.Subject)
}

// data is what a member shows of itself, in one line.
func data(m millrace.Member) string {
	var b bytes.Buffer
	if json.Compact(&b, m.Data) != nil {
		return Printable(string(m.Data))
	}
	return Printable(b.String())
}

// Printable returns a text of a stranger as a terminal may show it: what is no printable character, such as what moves the
// cursor or turns the direction of writing, stands as its number.
func Printable(text string) string {
	if strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unprintable(r) {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// ago says for people how long ago something was.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", d/time.Hour)
	}
	return fmt.Sprintf("%dd ago", d/(24*time.Hour))
}
