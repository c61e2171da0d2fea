// A room: a topic that is joined, and one beside it that tells who is typing. It is one session, over its cuts and resumes.
// It tells a listener what the wire tells, and "state" when that changed: idle, connecting, open or cut.

import {memberOf} from "./members.js";
import * as wire from "./wire.js";

const opens = {ws: wire.openWebSocket, sse: wire.openEventSource};
const kept = 50; // messages from before that a newcomer gets

export class Room {
	state = "idle";
	detail = ""; // what there is to say of the state
	transport = "ws";
	session = "";
	topic = "";
	typing = ""; // topic of who is typing
	joined = null; // the own member, as the server has it; null while there is none
	cursor = "";
	#name = "";
	#token = "";
	#connection = null;
	#retry = 0; // timer of the next try
	#tries = 0;
	#ids = 0;
	#asked = new Map(); // id → kind of command
	#hear;

	constructor(hear) {
		this.#hear = hear;
	}

	enter({transport, room, name, token}) {
		Object.assign(this, {topic: `chat:${room}`, typing: `typing:${room}`, joined: null, cursor: "", session: ""});
		this.#name = name;
		this.#token = token;
		this.#open(transport);
	}

	// cut closes the connection as a lost one would be, and keeps the cursor.
	cut() {
		this.#drop().close();
		this.#show("cut");
	}

	// resume comes back with the cursor. A session that comes back in time is a member still.
	resume(transport) {
		this.#open(transport);
	}

	// leave ends the session, so that the others know at once.
	leave(detail = "") {
		this.#drop().finish();
		this.cursor = "";
		this.joined = null;
		this.#show("idle", detail);
	}

	get name() {
		return this.#name;
	}

	rename(name) {
		this.#name = name;
		if (this.joined) this.#command("update", {topic: this.topic, data: {name}});
	}

	// say tells everyone in the room, oneself included: so what was said has its place in the order of the room. It returns
	// the command's id.
	say(text) {
		return this.#command("broadcast", {topic: this.topic, data: {name: this.#name, session: this.session, text}});
	}

	type() {
		this.#command("publish", {topic: this.typing, name: "typing", echo: false, data: {name: this.#name, session: this.session}});
	}

	#show(state, detail = "") {
		Object.assign(this, {state, detail});
		this.#hear("state", {});
	}

	#drop() {
		clearTimeout(this.#retry);
		const connection = this.#connection ?? {close() {}, finish() {}};
		this.#connection = null;
		return connection;
	}

	#open(transport) {
		clearTimeout(this.#retry);
		this.transport = transport;
		this.#asked.clear();
		this.#show("connecting");
		this.#connection = opens[transport]({
			topics: [this.typing],
			join: {topic: this.topic, data: {name: this.#name}},
			start: `last=${kept}`,
			cursor: this.cursor,
			token: this.#token,
			names: ["message", "typing"],
		}, (kind, frame, cursor) => this.#heard(kind, frame, cursor));
	}

	#command(kind, body) {
		const id = ++this.#ids;
		this.#asked.set(id, kind);
		this.#connection?.send(id, kind, body);
		return id;
	}

	#join() {
		this.#command("join", {topic: this.topic, data: {name: this.#name}});
	}

	#heard(kind, frame, cursor) {
		if (cursor) this.cursor = cursor;
		const asked = this.#asked.get(frame.re);
		this.#asked.delete(frame.re);
		switch (kind) {
		case "connected":
			this.#tries = 0;
			this.session = frame.session;
			break;
		case "joined": {
			const before = this.joined;
			this.joined = memberOf(frame.member);
			this.#hear("joined", {...frame, member: this.joined, stayed: before?.session === this.joined.session && before.joined === this.joined.joined});
			this.#show("open");
			if (frame.member.data?.name !== this.#name) this.rename(this.#name);
			return;
		}
		case "left":
			this.joined = null;
			this.#hear(kind, frame);
			// The membership ended while the session was away: that is what not_found says.
			if (frame.error?.reason === "not_found") this.#join();
			else this.leave(frame.error ? `${frame.error.reason}: ${frame.error.message}` : "You were taken out of the room.");
			return;
		case "unsubscribed":
			if (frame.topic !== this.topic || !frame.error) break; // without the other the room is a room still
			this.leave(`${frame.error.reason}: ${frame.error.message}`);
			return;
		case "error":
			if (asked === "join") this.leave(`${frame.reason}: ${frame.message}`);
			else this.#hear(kind, {...frame, asked});
			return;
		case "retrying":
			this.#show("connecting", "The connection is lost; the EventSource comes back by itself, with its cursor.");
			return;
		case "closed":
			this.#closed(frame);
			return;
		}
		this.#hear(kind, frame);
	}

	// closed comes back after a while, unless that is of no use.
	#closed({text, again, window}) {
		this.#connection = null;
		if (!again) return this.cursor ? this.#show("cut", `Closed: ${text}`) : this.leave(`Closed: ${text}`);
		const wait = wire.pause(this.#tries++, window);
		this.#show("cut", `Closed: ${text}. Coming back in ${(wait / 1000).toFixed(1)} s.`);
		this.#retry = setTimeout(() => this.#open(this.transport), wait);
	}
}
