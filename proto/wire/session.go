package wire

import (
	"github.com/millrace-dev/millrace"
	millracev1 "github.com/millrace-dev/millrace/proto/millrace/v1"
)

// Target makes the message of a target, as operators ask for it.
func Target(t millrace.Target) *millracev1.SessionTarget {
	if t.Session != "" {
		return &millracev1.SessionTarget{Target: &millracev1.SessionTarget_Session{Session: t.Session}}
	}
	return &millracev1.SessionTarget{Target: &millracev1.SessionTarget_Subject{Subject: t.Subject}}
}

// targeted is a message that names sessions.
type targeted interface {
	GetSession() string
	GetSubject() string
}

// ParseTarget reads whom a SessionTarget or a SessionCommand is for. It is not checked.
func ParseTarget(m targeted) millrace.Target {
	return millrace.Target{Session: m.GetSession(), Subject: m.GetSubject()}
}

// SetTarget says whom a command is for.
func SetTarget(m *millracev1.SessionCommand, t millrace.Target) {
	if t.Session != "" {
		m.Target = &millracev1.SessionCommand_Session{Session: t.Session}
	} else {
		m.Target = &millracev1.SessionCommand_Subject{Subject: t.Subject}
	}
}

// SubscribeFrame makes the frame by which a session would ask for a subscription.
func SubscribeFrame(s millrace.Subscription) *millracev1.ClientFrame {
	return &millracev1.ClientFrame{Kind: &millracev1.ClientFrame_Subscribe{Subscribe: &millracev1.SubscribeFrame{
		Topic: s.Topic, Start: Start(s.Start), Filter: s.Filter.String(), MaxRate: s.MaxRate,
	}}}
}

// UnsubscribeFrame makes the frame by which a session would end a subscription.
func UnsubscribeFrame(topic string) *millracev1.ClientFrame {
	return &millracev1.ClientFrame{Kind: &millracev1.ClientFrame_Unsubscribe{Unsubscribe: &millracev1.UnsubscribeFrame{Topic: topic}}}
}

// JoinFrame makes the frame by which a session would become a member.
func JoinFrame(topic string, data []byte) *millracev1.ClientFrame {
	return &millracev1.ClientFrame{Kind: &millracev1.ClientFrame_Join{Join: &millracev1.JoinFrame{Topic: topic, Data: data}}}
}

// LeaveFrame makes the frame by which a session would end its membership.
func LeaveFrame(topic string) *millracev1.ClientFrame {
	return &millracev1.ClientFrame{Kind: &millracev1.ClientFrame_Leave{Leave: &millracev1.LeaveFrame{Topic: topic}}}
}
