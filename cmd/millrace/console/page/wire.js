// The bare wires. Each function opens a connection and tells a listener what comes, in the same words for both:
// connected, subscribed, unsubscribed, event, gap, advanced, published, error, goaway; and at last closed, with whether it
// makes sense to come back and when.

import {Cursor} from "./cursor.js";

const noPosition = {offset: "0", mark: "0"};

// at fills in what ProtoJSON leaves out: numbers that are zero.
const at = position => ({...noPosition, ...position});

// parse keeps numbers as they were written where JavaScript's would differ, if the browser can.
const parse = text => JSON.parse(text, (_, value, context) =>
	typeof value === "number" && JSON.rawJSON && context && String(value) !== context.source ? JSON.rawJSON(context.source) : value);

function address(scheme, path, {topics, start, cursor, token}) {
	const url = new URL(path, location.href);
	url.protocol = url.protocol === "https:" ? `${scheme}s:` : `${scheme}:`;
	if (cursor) {
		url.searchParams.set("cursor", cursor);
	} else {
		for (const topic of topics) url.searchParams.append("topic", topic);
		if (start !== "now") url.searchParams.set("start", start);
	}
	if (token) url.searchParams.set("token", token);
	return url;
}

// openWebSocket speaks frames of JSON. The cursor is put together from the pieces of the frames.
export function openWebSocket(options, tell) {
	const socket = new WebSocket(address("ws", "v1/ws", options));
	const {cursor} = Cursor.parse(options.cursor || "");
	let goaway = null;
	const moved = (kind, frame, position) => {
		const place = at(position);
		cursor.move(frame.topic, place);
		tell(kind, {...frame, position: place}, cursor.toString());
	};
	socket.onmessage = message => {
		const frame = parse(message.data);
		if (frame.connected) {
			cursor.seal = frame.connected.cursor || "";
			tell("connected", frame.connected, cursor.toString());
		} else if (frame.subscribed) {
			if (frame.subscribed.cursor) cursor.seal = frame.subscribed.cursor;
			if (frame.subscribed.pending) tell("pending", frame.subscribed, cursor.toString());
			else moved("subscribed", frame.subscribed, frame.subscribed.position);
		} else if (frame.event) {
			moved("event", frame.event, frame.event.position);
		} else if (frame.gap) {
			const gap = {...frame.gap, after: at(frame.gap.after), until: at(frame.gap.until)};
			moved("gap", gap, gap.until);
		} else if (frame.advanced) {
			moved("advanced", frame.advanced, frame.advanced.position);
		} else if (frame.unsubscribed) {
			cursor.drop(frame.unsubscribed.topic);
			tell("unsubscribed", frame.unsubscribed, cursor.toString());
		} else if (frame.published) {
			tell("published", {...frame.published, re: frame.re, position: at(frame.published.position)}, cursor.toString());
		} else if (frame.error) {
			tell("error", {...frame.error, re: frame.re}, cursor.toString());
		} else if (frame.goaway) {
			goaway = frame.goaway;
			tell("goaway", goaway, cursor.toString());
		}
	};
	socket.onclose = ({code, reason}) => {
		// Codes from 4000 to 4499 say that coming back unchanged is of no use.
		const again = !(code >= 4000 && code < 4500) && code !== 1000;
		tell("closed", {text: `${code}${reason ? ` ${reason}` : ""}`, again, window: Number(goaway?.retryAfterMs ?? 0)});
	};
	return {
		// The data goes as it was written, so that no number in it is rounded on the way.
		publish: (id, {topic, name, data}) =>
			socket.send(`{"id":${id},"publish":{"topic":${JSON.stringify(topic)},"name":${JSON.stringify(name)},"data":${data}}}`),
		close() {
			socket.onclose = socket.onmessage = null;
			socket.close();
		},
	};
}

// openEventSource hears the events whose names it listens for. The id of each is the cursor of the whole session.
export function openEventSource(options, tell) {
	const source = new EventSource(address("http", "v1/events", options));
	const own = {
		connected: frame => frame,
		subscribed: frame => (frame.pending ? frame : {...frame, position: at(frame.position)}),
		unsubscribed: frame => frame,
		gap: frame => ({...frame, after: at(frame.after), until: at(frame.until), position: at(frame.until)}),
		goaway: frame => frame,
	};
	for (const [kind, read] of Object.entries(own)) {
		source.addEventListener(kind, message => {
			const frame = read(JSON.parse(message.data));
			tell(kind === "subscribed" && frame.pending ? "pending" : kind, frame, message.lastEventId);
		});
	}
	const listening = new Set();
	const listen = name => {
		if (!name || listening.has(name) || name in own || name === "error" || name === "open") return;
		listening.add(name);
		source.addEventListener(name, message => {
			const {cursor, last} = Cursor.parse(message.lastEventId);
			tell("event", {
				topic: last,
				name: name === "message" ? "" : name,
				text: message.data,
				position: cursor.pieces.get(last) ?? noPosition,
			}, message.lastEventId);
		});
	};
	options.names.forEach(listen);
	source.onerror = message => {
		// An error that the server tells arrives as an event of this name, with data.
		if (message.data) return tell("error", JSON.parse(message.data), message.lastEventId);
		if (source.readyState === EventSource.CONNECTING) return tell("retrying", {});
		tell("closed", {text: "the server refused the stream", again: false, window: 0});
	};
	return {
		listen,
		close: () => source.close(),
	};
}

// request calls the HTTP endpoints; a refusal is thrown with its reason.
async function request(method, path, token, options = {}) {
	const headers = {...options.headers};
	if (token) headers.Authorization = `Bearer ${token}`;
	const response = await fetch(new URL(path, location.href), {...options, method, headers});
	const answer = await response.json().catch(() => ({}));
	if (!response.ok) {
		const error = answer.error ?? {};
		throw new Error(`${error.reason ?? response.status}: ${error.message ?? response.statusText}`);
	}
	return answer;
}

const eventsOf = topic => `v1/topics/${encodeURIComponent(topic)}/events`;

// publish stores an event whose data is JSON, and returns where.
export async function publish({topic, name, data, token}) {
	const query = name ? `?name=${encodeURIComponent(name)}` : "";
	const answer = await request("POST", eventsOf(topic) + query, token, {
		body: data,
		headers: {"Content-Type": "application/json"},
	});
	return {...answer, position: at(answer.position)};
}

// head returns the newest position of a topic's log.
export async function head(topic, token) {
	const page = await request("GET", `${eventsOf(topic)}?order=desc&limit=1`, token);
	return at(page.head);
}
