// The chat room: the forms, and what the room tells.

import {Members} from "./members.js";
import {Panel} from "./panel.js";
import {Room} from "./room.js";
import {Transcript} from "./transcript.js";
import {Pen, Typists} from "./typing.js";

const $ = id => document.getElementById(id);
const crowd = 5; // more than so many who come or go at once are one line
const guests = ["Ada", "Barbara", "Claude", "Dennis", "Edsger", "Frances", "Grace", "Hedy", "Katherine", "Leslie", "Margaret", "Radia"];
const states = {idle: "not connected", connecting: "connecting …", cut: "cut"};

const room = new Room(hear);
const members = new Members();
const transcript = new Transcript($("transcript"));
const panel = new Panel({list: $("members"), count: $("members-count"), note: $("members-note")});
const pen = new Pen();
const typists = new Typists(() => {
	$("typing").textContent = typists.toString();
	draw();
});
let unsent = null; // the message that was sent last, until it is stored: {id, text}
let gaps = 0;

const draw = () => panel.show(members, room.session, typists);
const chosen = () => document.querySelector("input[name=transport]:checked").value;

function say(text, kind = "") {
	$("notice").textContent = text;
	$("notice").dataset.kind = kind;
}

// show brings the forms in line with the room's state.
function show() {
	const {state, detail} = room;
	const open = state === "open";
	document.body.dataset.state = state;
	$("state").dataset.state = state;
	$("state").textContent = open ? `connected by ${room.transport === "ws" ? "WebSocket" : "EventSource"}` : states[state];
	$("session").textContent = room.session;
	$("subject").textContent = room.joined?.subject || "anonymous";
	$("who").hidden = state === "idle" || !room.session;
	$("join").hidden = state !== "idle";
	$("resume").hidden = state !== "cut";
	$("cut").hidden = state !== "open" && state !== "connecting";
	$("leave").hidden = state === "idle";
	$("rename").hidden = !open;
	$("room").disabled = $("token").disabled = state !== "idle";
	for (const radio of document.querySelectorAll("input[name=transport]")) radio.disabled = open || state === "connecting";
	$("text").disabled = $("say").disabled = !open;
	$("panel").toggleAttribute("data-old", !open && members.count > 0);
	if (detail || state !== "open") say(detail, state === "idle" && detail ? "bad" : "");
	renamable();
	if (state === "idle") {
		members.clear();
		typists.clear();
	}
	draw();
}

// renamable lets a name be changed that differs from the one that the others see.
function renamable() {
	const name = $("name").value.trim();
	$("rename").disabled = room.state !== "open" || !name || name === (members.nameOf(room.session) ?? room.name);
}

function hear(kind, frame) {
	switch (kind) {
	case "state":
		show();
		break;
	case "joined":
		heardJoined(frame);
		break;
	case "members":
		heardMembers(frame);
		break;
	case "event":
		if (frame.topic === room.typing) heardTyping(payloadOf(frame));
		if (frame.topic === room.topic) heardMessage(frame);
		break;
	case "gap":
		if (frame.topic === room.topic) heardGap(frame);
		break;
	case "left":
		if (frame.error) transcript.line("went", `Your membership had ended: ${frame.error.message}.`);
		break;
	case "subscribed":
	case "advanced":
		if (frame.topic === room.topic) stand(frame.position);
		break;
	case "pending":
		say("The room waits for the broker.");
		break;
	case "published":
		if (frame.re === unsent?.id) unsent = null;
		break;
	case "error":
		heardError(frame);
		break;
	case "goaway":
		say(frame.message || "The server is going away.");
		break;
	}
}

// heardJoined says what a resume is for: whoever comes back in time was never gone.
function heardJoined({member, stayed}) {
	if (room.state === "open") return;
	if (stayed) {
		say("Back, and a member all along: nobody saw you go.", "good");
		transcript.line("resumed", "You are back by cursor, and were a member all along.");
	} else {
		say("");
		transcript.line("came", `You joined as ${member.name}.`);
	}
	$("text").disabled = false;
	$("text").focus({preventScroll: true});
}

function heardMembers(frame) {
	const {came, changed, went} = members.apply(frame);
	for (const {session} of went) typists.stopped(session);
	tellOf("came", came, "joined");
	tellOf("went", went, "left");
	for (const m of changed) transcript.line("renamed", `${m.before} is now ${m.name}.`);
	renamable();
	draw();
}

// tellOf says who came or went. A crowd is told by its number.
function tellOf(kind, who, verb) {
	const others = who.filter(m => m.session !== room.session);
	if (others.length > crowd) return transcript.line(kind, `${others.length} members ${verb}.`);
	for (const m of others) transcript.line(kind, `${m.name} ${verb}.`);
}

// payloadOf reads an event's payload, which may be anything that someone published.
function payloadOf({data, text}) {
	if (data === undefined) {
		try {
			data = JSON.parse(text);
		} catch {
			data = text ?? "something that is not text";
		}
	}
	if (data === null || typeof data !== "object" || Array.isArray(data)) return {text: typeof data === "string" ? data : JSON.stringify(data)};
	return data;
}

const word = value => (typeof value === "string" ? value : "");

// heardMessage shows a message. The gateway says who sent it on a WebSocket; an EventSource has the sender's word alone.
function heardMessage(event) {
	const payload = payloadOf(event);
	const session = event.sender?.session ?? word(payload.session);
	typists.stopped(session);
	stand(event.position);
	transcript.message({
		session,
		name: members.nameOf(session) || word(payload.name) || event.sender?.subject || "a backend",
		text: word(payload.text) || JSON.stringify(payload),
		position: event.position ?? {offset: "", mark: ""},
		timeMs: event.timeMs,
		own: session !== "" && session === room.session,
	});
}

function heardTyping({session, name}) {
	if (word(session)) typists.heard(session, members.nameOf(session) || word(name) || "Someone");
}

function heardGap({cause, after, until}) {
	gaps++;
	stand(until);
	transcript.line("gap", cause === "reset" ? "The room's log is not the one that was read: it goes on anew."
		: `${BigInt(until.offset) - BigInt(after.offset)} messages are not delivered: ${cause}.`);
	$("gaps").hidden = false;
	$("gaps").textContent = `${gaps} gap${gaps === 1 ? "" : "s"}`;
}

function heardError({re, reason, message, asked}) {
	if (asked === "publish") return; // of typing, which nobody misses
	say(`${reason}: ${message}`, "bad");
	if (re && re === unsent?.id) {
		if (!$("text").value) $("text").value = unsent.text;
		unsent = null;
	}
}

function stand(position) {
	if (!position) return;
	$("position").hidden = false;
	$("position").textContent = `at ${position.offset}`;
	$("position").title = `position ${position.offset}-${position.mark}`;
	$("position").dataset.offset = position.offset;
}

// remember keeps room and transport in the address, so that it can be shared, and the name in this tab; never the token.
function remember() {
	history.replaceState(null, "", `#${new URLSearchParams({room: $("room").value.trim(), transport: chosen()})}`);
	sessionStorage.setItem("name", $("name").value.trim());
}

function recall() {
	const query = new URLSearchParams(location.hash.slice(1));
	if (query.get("room")) $("room").value = query.get("room");
	document.querySelector(`input[name=transport][value="${query.get("transport") === "sse" ? "sse" : "ws"}"]`).checked = true;
	$("name").value = sessionStorage.getItem("name") ?? guests[Math.floor(Math.random() * guests.length)];
}

$("entry").addEventListener("submit", event => {
	event.preventDefault();
	const name = $("name").value.trim();
	if (!name) return;
	remember();
	if (room.state === "open") return room.rename(name);
	if (room.state !== "idle") return;
	transcript.clear();
	gaps = 0;
	$("gaps").hidden = $("position").hidden = true;
	$("log-title").textContent = `chat:${$("room").value.trim()}`;
	room.enter({transport: chosen(), room: $("room").value.trim(), name, token: $("token").value.trim()});
});
$("composer").addEventListener("submit", event => {
	event.preventDefault();
	const text = $("text").value.trim();
	if (!text || room.state !== "open") return;
	unsent = {id: room.say(text), text};
	$("text").value = "";
	pen.lift();
});
$("text").addEventListener("input", () => {
	if ($("text").value && room.state === "open" && pen.stroke()) room.type();
});
$("rename").addEventListener("click", () => $("entry").requestSubmit());
$("name").addEventListener("input", renamable);
$("cut").addEventListener("click", () => {
	room.cut();
	transcript.line("cut", "The connection is cut here. The others still see you, for a while.");
	say("Resume soon, and nobody sees you go.");
	$("resume").focus({preventScroll: true});
});
$("resume").addEventListener("click", () => room.resume(chosen()));
$("leave").addEventListener("click", () => {
	room.leave();
	transcript.line("went", "You left.");
});
addEventListener("pagehide", () => room.state !== "idle" && room.leave());
recall();
show();
