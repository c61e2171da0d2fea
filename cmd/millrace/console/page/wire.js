// The bare wires. Each function opens a connection and tells a listener what comes, in the same words for both:
// connected, subscribed, unsubscribed, event, gap, advanced, published, joined, members, left, done, error, goaway; and at last
// closed, with whether it makes sense to come back and when. What answers a command has its id, as re.

import {Cursor} from "./cursor.js";

const noPosition = {offset: "0", mark: "0"};

// at fills in what ProtoJSON leaves out: numbers that are zero.
const at = position => ({...noPosition, ...position});

// placeOf is where a frame leads its topic: null in class ephemeral, which has no positions. A subscription to a pattern has
// none either, and begins at zero in a cursor.
const placeOf = {
	subscribed: frame => (frame.class === "ephemeral" ? null : at(frame.position)),
	event: frame => frame.position && at(frame.position) || null,
	gap: frame => frame.until && at(frame.until) || null,
	advanced: frame => at(frame.position),
};

// parse keeps numbers as they were written where JavaScript's would differ, if the browser can.
const parse = text => JSON.parse(text, (_, value, context) =>
	typeof value === "number" && JSON.rawJSON && context && String(value) !== context.source ? JSON.rawJSON(context.source) : value);

function address(scheme, path, {topics, join, start, cursor, token}) {
	const url = new URL(path, location.href);
	url.protocol = url.protocol === "https:" ? `${scheme}s:` : `${scheme}:`;
	if (cursor) {
		url.searchParams.set("cursor", cursor);
	} else {
		for (const topic of topics) url.searchParams.append("topic", topic);
		if (join) {
			url.searchParams.set("join", join.topic);
			url.searchParams.set("info", JSON.stringify(join.data));
		}
		if (start !== "now") url.searchParams.set("start", start);
	}
	if (token) url.searchParams.set("token", token);
	return url;
}

// pause is how long to wait before the next try, in milliseconds: at random up to the server's window, or up to twice as long
// with each try, 30 s at most.
export const pause = (tries, window) => Math.random() * Math.max(window, Math.min(30000, 500 * 2 ** tries));

// openWebSocket speaks frames of JSON. The cursor is put together from the pieces of the frames.
export function openWebSocket(options, tell) {
	const socket = new WebSocket(address("ws", "v1/ws", options));
	const {cursor} = Cursor.parse(options.cursor || "");
	let goaway = null;
	socket.onmessage = message => {
		const {re, ...kinds} = parse(message.data);
		const [kind, frame] = Object.entries(kinds)[0] ?? [];
		// Whatever frame carries a cursor carries its new beginning.
		if (frame?.cursor) cursor.beginning = frame.cursor;
		switch (kind) {
		case "subscribed":
			if (frame.pending) {
				cursor.hold(frame.topic);
				tell("pending", {...frame, re}, cursor.toString());
				break;
			}
			// falls through
		case "event":
		case "gap":
		case "advanced": {
			const position = placeOf[kind](frame);
			cursor.move(frame.topic, position);
			tell(kind, told(kind, {...frame, re}, position), cursor.toString());
			break;
		}
		case "unsubscribed":
			cursor.drop(frame.topic);
			tell(kind, {...frame, re}, cursor.toString());
			break;
		case "published":
			tell(kind, {...frame, re, position: placeOf.event(frame)}, cursor.toString());
			break;
		case "goaway":
			goaway = frame;
			// falls through
		default:
			tell(kind, {...frame, re}, cursor.toString());
		}
	};
	socket.onclose = ({code, reason}) => {
		// Codes from 4000 to 4499 say that coming back unchanged is of no use.
		const again = !(code >= 4000 && code < 4500) && code !== 1000;
		tell("closed", {text: `${code}${reason ? ` ${reason}` : ""}`, again, window: Number(goaway?.retryAfterMs ?? 0)});
	};
	const end = code => {
		socket.onclose = socket.onmessage = null;
		socket.close(code);
	};
	return {
		// send gives a command, whose data goes as JSON.
		send: (id, kind, body) => socket.send(JSON.stringify({id, [kind]: body})),
		// The data goes as it was written, so that no number in it is rounded on the way.
		publish: (id, {topic, name, data}) =>
			socket.send(`{"id":${id},"publish":{"topic":${JSON.stringify(topic)},"name":${JSON.stringify(name)},"data":${data}}}`),
		// close ends the connection, and says nothing of the session: it may come back.
		close: () => end(),
		// finish ends the session for good, which code 1000 says.
		finish: () => end(1000),
	};
}

// told is a frame with its positions filled in.
function told(kind, frame, position) {
	if (kind === "gap") return {...frame, after: at(frame.after), until: position, position};
	return {...frame, position};
}

// openEventSource hears the events whose names it listens for. The id of each is the cursor of the whole session. What it sends
// goes by POST.
export function openEventSource(options, tell) {
	const source = new EventSource(address("http", "v1/events", options));
	const own = ["connected", "subscribed", "unsubscribed", "gap", "advanced", "joined", "members", "left", "done", "goaway"];
	const now = {session: "", cursor: ""};
	for (const kind of own) {
		source.addEventListener(kind, message => {
			const frame = JSON.parse(message.data);
			now.cursor = message.lastEventId;
			if (kind === "connected") now.session = frame.session;
			if (frame.pending) return tell("pending", frame, message.lastEventId);
			tell(kind, placeOf[kind] ? told(kind, frame, placeOf[kind](frame)) : frame, message.lastEventId);
		});
	}
	const listening = new Set();
	const listen = name => {
		if (!name || listening.has(name) || own.includes(name) || name === "error" || name === "open") return;
		listening.add(name);
		source.addEventListener(name, message => {
			now.cursor = message.lastEventId;
			const {cursor, last} = Cursor.parse(message.lastEventId);
			tell("event", {
				topic: last,
				name: name === "message" ? "" : name,
				text: message.data,
				position: cursor.pieces.get(last) ?? null,
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
	// command posts a frame to the session. What is answered at once is told like what comes on the stream.
	const command = async (id, kind, body) => {
		const answer = await request("POST", `v1/sessions/${encodeURIComponent(now.session)}/commands`, options.token, {
			body: JSON.stringify({id, [kind]: body}),
			headers: {"Content-Type": "application/json", "Millrace-Cursor": now.cursor},
			keepalive: true, // so that the last one outlives the page
		});
		if (answer.published) tell("published", {...answer.published, re: id, position: placeOf.event(answer.published)});
	};
	let sent = Promise.resolve(); // commands go one after the other, or they could overtake each other
	return {
		listen,
		send(id, kind, body) {
			sent = sent.then(() => command(id, kind, body)).catch(({reason = "failed", message}) => tell("error", {re: id, reason, message}));
		},
		close: () => source.close(),
		// finish leaves the topic that was joined, since a stream that ends may come back.
		async finish() {
			source.onerror = null;
			tell = () => {};
			if (options.join && now.session) await command(1, "leave", {topic: options.join.topic}).catch(() => {}); // it ends in any case
			source.close();
		},
	};
}

// request calls the HTTP endpoints; a refusal is thrown with its reason.
async function request(method, path, token, options = {}) {
	const headers = {...options.headers};
	if (token) headers.Authorization = `Bearer ${token}`;
	const response = await fetch(new URL(path, location.href), {...options, method, headers});
	const answer = await response.json().catch(() => ({}));
	if (!response.ok) {
		const {reason = String(response.status), message = response.statusText} = answer.error ?? {};
		throw Object.assign(new Error(message), {reason});
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
	return {...answer, position: placeOf.event(answer)};
}

// head returns the newest position of a topic's log.
export async function head(topic, token) {
	const page = await request("GET", `${eventsOf(topic)}?order=desc&limit=1`, token);
	return at(page.head);
}
