// Package millrace holds the words of Millrace, a pub/sub backbone for products with live screens.
//
// Backends publish an [Event] to a topic; the broker stores it at a [Position] in the topic's log; a subscriber gets
// every event from where it attached, in order and once, or an explicit [Gap] that names what it did not get and why. A
// [Cursor] is all positions of a session as one string, and resumes at any door: WebSocket, SSE or gRPC. A [Grant] is
// what a peer may do, and an [Error] is what it is told when it may not.
//
// The package imports nothing but the standard library, and everything else in the module imports it.
package millrace
