// The console: a session's state, the forms, and what comes.

import {Ledger, Recovery} from "./cursor.js";
import {List} from "./list.js";
import {Meter} from "./meter.js";
import * as wire from "./wire.js";

const $ = id => document.getElementById(id);
const list = new List($("events"));
const meter = new Meter($("spark").firstElementChild, $("rate"));

const states = {
	idle: "not connected",
	connecting: "connecting …",
	open: "connected",
	cut: "cut",
};

const session = {
	state: "idle",
	connection: null,
	transport: "ws",
	cursor: "",
	positions: new Map(),
	ledger: new Ledger(),
	recovery: null,
	retry: 0, // timer of the next try
	tries: 0,
};
const counts = {count: 0, gaps: 0, faults: 0};

const words = text => text.split(/[\s,]+/).filter(Boolean);
const chosen = name => document.querySelector(`input[name=${name}]:checked`).value;

function show(state, detail = "") {
	session.state = state;
	$("state").dataset.state = state;
	$("state").textContent = state === "open" ? `connected by ${session.transport === "ws" ? "WebSocket" : "EventSource"}` : states[state];
	$("connect").hidden = state !== "idle";
	$("cut").hidden = state !== "open" && state !== "connecting";
	$("resume").hidden = state !== "cut";
	$("disconnect").hidden = state === "idle";
	$("who").hidden = state === "idle" || !$("session").textContent;
	for (const id of ["topics", "start", "names"]) $(id).disabled = state !== "idle";
	const live = state === "open" || state === "connecting";
	for (const radio of document.querySelectorAll("input[name=transport]")) radio.disabled = live;
	const viaSocket = document.querySelector("input[name=via][value=ws]");
	viaSocket.disabled = !(state === "open" && session.transport === "ws");
	if (viaSocket.disabled && viaSocket.checked) document.querySelector("input[name=via][value=http]").checked = true;
	say($("notice"), detail);
}

function say(where, text, kind = "") {
	where.textContent = text;
	where.dataset.kind = kind;
}

function tally() {
	for (const [id, n] of Object.entries(counts)) {
		$(id).textContent = n.toLocaleString();
		$(id).parentElement.toggleAttribute("data-bad", id === "faults" && n > 0);
	}
}

let drawing = false;

// draw brings the counts and positions up to date, once for all that came since the last paint.
function draw() {
	if (drawing) return;
	drawing = true;
	requestAnimationFrame(() => {
		drawing = false;
		tally();
		$("topics-held").replaceChildren(...[...session.positions].map(([topic, at]) => {
			const li = document.createElement("li");
			li.append(topic);
			li.dataset.topic = topic;
			li.title = "ephemeral: no positions";
			if (!at) return li;
			const offset = document.createElement("b");
			offset.textContent = at.offset;
			li.append(" @ ", offset);
			li.title = `position ${at.offset}-${at.mark}`;
			Object.assign(li.dataset, {offset: at.offset, mark: at.mark});
			return li;
		}));
		if (session.recovery && session.state === "open") say($("notice"), session.recovery.toString(), session.recovery.done ? "good" : "");
	});
}

// open connects, from the cursor if there is one.
function open() {
	clearTimeout(session.retry);
	session.transport = chosen("transport");
	show("connecting");
	const options = {
		topics: words($("topics").value),
		start: $("start").value,
		cursor: session.cursor,
		token: $("token").value.trim(),
		names: ["message", ...words($("names").value), $("publish-name").value.trim()],
	};
	session.connection = session.transport === "ws" ? wire.openWebSocket(options, hear) : wire.openEventSource(options, hear);
}

// resume comes back with the cursor. What the log has by then is asked first, to know how much was missed.
async function resume() {
	clearTimeout(session.retry);
	const token = $("token").value.trim();
	const held = new Map([...session.positions].filter(([, at]) => at));
	show("connecting", "Resuming …");
	const heads = await Promise.all([...held.keys()].map(async topic => [topic, await wire.head(topic, token)])).catch(() => null);
	if (session.state !== "connecting") return;
	session.recovery = new Recovery(heads, held);
	const from = [...held].map(([topic, at]) => `${topic} after ${at.offset}`).join(", ");
	list.add({kind: "note", title: "Resume", text: from ? `by cursor: ${from}` : "by cursor"});
	open();
}

function leave(connection = session.connection) {
	clearTimeout(session.retry);
	connection?.close();
	session.connection = null;
}

function cut() {
	leave();
	list.add({kind: "lost", title: "Cut", text: `the connection is closed here; the cursor is kept (${session.cursor.length} bytes)`});
	show("cut", "Publish something, then resume: what was missed comes back.");
}

function disconnect() {
	leave();
	Object.assign(session, {cursor: "", recovery: null, tries: 0});
	session.positions.clear();
	$("session").textContent = "";
	show("idle");
	draw();
}

// hear takes what a connection tells.
function hear(kind, frame, cursor) {
	if (cursor) session.cursor = cursor;
	switch (kind) {
	case "connected":
		session.tries = 0;
		$("session").textContent = frame.session;
		$("subject").textContent = frame.subject || "anonymous";
		show("open");
		break;
	case "pending":
		say($("notice"), `${frame.topic} waits for the broker.`);
		break;
	case "subscribed":
		stand(frame.topic, frame.position);
		break;
	case "event":
		heardEvent(frame);
		break;
	case "gap":
		counts.gaps++;
		if (frame.until) session.recovery?.gap(frame);
		stand(frame.topic, frame.until);
		list.add({kind: "gap", gap: frame});
		break;
	case "advanced":
		stand(frame.topic, frame.position);
		break;
	case "unsubscribed":
		session.positions.delete(frame.topic);
		if (frame.error) list.add({kind: "lost", title: "Unsubscribed", text: `${frame.topic}: ${frame.error.reason}: ${frame.error.message}`});
		break;
	case "published":
		say($("published"), `${storedAt(frame.position)}${frame.repeated ? ", once already" : ""}.`, "good");
		break;
	case "error":
		say(frame.re ? $("published") : $("notice"), `${frame.reason}: ${frame.message}`, "bad");
		break;
	case "goaway":
		list.add({kind: "note", title: "Goaway", text: frame.message || frame.reason || "the server is going away"});
		break;
	case "retrying":
		session.recovery = null;
		show("connecting", "The connection is lost; the EventSource comes back by itself, with its cursor.");
		break;
	case "closed":
		closed(frame);
		break;
	}
	draw();
}

// stand notes where a topic stands; null if it has no positions.
function stand(topic, position) {
	if (position) session.ledger.expect(topic, position.offset);
	session.positions.set(topic, position);
}

const storedAt = position => (position ? `Stored at ${position.offset}-${position.mark}` : "Passed on to who is there");

function heardEvent(event) {
	counts.count++;
	meter.count();
	if (!event.position) return list.add({kind: "event", event});
	// An EventSource does not hear the names that it does not listen for, so only a WebSocket sees every offset.
	if (!session.ledger.follows(event.topic, event.position.offset) && session.transport === "ws") counts.faults++;
	session.positions.set(event.topic, event.position);
	list.add({kind: "event", event, returned: session.recovery?.returns(event.topic, event.position.offset)});
}

// closed comes back after a while, unless that is of no use: full jitter, up to 30 s.
function closed({text, again, window}) {
	session.connection = null;
	list.add({kind: "lost", title: "Closed", text});
	if (!again) return session.cursor ? show("cut", `Closed: ${text}`) : (show("idle"), say($("notice"), `Closed: ${text}`, "bad"));
	const wait = wire.pause(session.tries++, window);
	show("cut", `Closed: ${text}. Coming back in ${(wait / 1000).toFixed(1)} s.`);
	session.retry = setTimeout(() => (session.cursor ? resume() : open()), wait);
}

async function publish() {
	const topic = $("publish-topic").value.trim();
	const name = $("publish-name").value.trim();
	const data = $("publish-data").value;
	const times = Math.min(1000, Math.max(1, Number($("publish-times").value) || 1));
	try {
		JSON.parse(data);
	} catch (error) {
		return say($("published"), `The data is not JSON: ${error.message}`, "bad");
	}
	session.connection?.listen?.(name);
	$("publish").disabled = true;
	try {
		for (let i = 0; i < times; i++) {
			if (chosen("via") === "ws") {
				session.connection.publish(i + 1, {topic, name, data});
				continue;
			}
			const {position} = await wire.publish({topic, name, data, token: $("token").value.trim()});
			say($("published"), `${storedAt(position)}${times > 1 ? `, ${i + 1} of ${times}` : ""}.`, "good");
		}
	} catch (error) {
		say($("published"), error.reason ? `${error.reason}: ${error.message}` : error.message, "bad");
	} finally {
		$("publish").disabled = false;
	}
}

// remember keeps topics and transport in the address, so that it can be shared; never the token.
function remember() {
	const query = new URLSearchParams({topics: $("topics").value, transport: chosen("transport")});
	history.replaceState(null, "", `#${query}`);
}

function recall() {
	const query = new URLSearchParams(location.hash.slice(1));
	if (query.get("topics")) $("topics").value = query.get("topics");
	const radio = document.querySelector(`input[name=transport][value="${query.get("transport") === "sse" ? "sse" : "ws"}"]`);
	radio.checked = true;
	$("names-field").hidden = radio.value !== "sse";
}

$("connection").addEventListener("submit", event => {
	event.preventDefault();
	if (session.state !== "idle") return;
	remember();
	session.recovery = null;
	open();
});
$("publish-form").addEventListener("submit", event => {
	event.preventDefault();
	publish();
});
$("publish-data").addEventListener("keydown", event => {
	if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) publish();
});
$("cut").addEventListener("click", cut);
$("resume").addEventListener("click", resume);
$("disconnect").addEventListener("click", disconnect);
$("clear").addEventListener("click", () => {
	list.clear();
	Object.assign(counts, {count: 0, gaps: 0, faults: 0});
	draw();
});
for (const radio of document.querySelectorAll("input[name=transport]")) {
	radio.addEventListener("change", () => ($("names-field").hidden = chosen("transport") !== "sse"));
}
recall();
show("idle");
