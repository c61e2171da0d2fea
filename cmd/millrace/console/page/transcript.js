// The transcript of a room: what was said, and who came and went between, newest last and bounded.

import {portrait} from "./panel.js";

const limit = 500;
const clock = new Intl.DateTimeFormat(undefined, {hour: "2-digit", minute: "2-digit", hourCycle: "h23"});

function element(tag, className, text) {
	const e = document.createElement(tag);
	if (className) e.className = className;
	if (text !== undefined) e.textContent = text;
	return e;
}

export class Transcript {
	#root;
	#before = ""; // session of the message that stands last

	constructor(root) {
		this.#root = root;
	}

	clear() {
		this.#before = "";
		this.#root.replaceChildren();
	}

	// message adds what was said. Where it stands in the room tells its order; the time is told by WebSocket alone.
	message({session, name, text, position, timeMs, own}) {
		const li = element("li", "message");
		Object.assign(li.dataset, {testid: "message", session, name, offset: position.offset, own: String(own), follows: String(session !== "" && session === this.#before)});
		const head = element("p", "said-by");
		head.append(element("b", "", name));
		if (timeMs) {
			const time = element("time", "", clock.format(Number(timeMs)));
			time.dateTime = new Date(Number(timeMs)).toISOString();
			head.append(time);
		}
		const body = element("p", "said", text);
		const offset = element("span", "offset", position.offset);
		offset.title = `position ${position.offset}-${position.mark}`;
		offset.setAttribute("aria-hidden", "true");
		li.append(portrait(session, name), head, body, offset);
		this.#add(li, own);
		this.#before = session;
	}

	// line adds what happened, of a kind: came, went, renamed, cut, resumed, gap.
	line(kind, text) {
		const li = element("li", `line ${kind}`);
		li.dataset.testid = "line";
		li.dataset.kind = kind;
		li.append(element("span", "", text));
		this.#add(li, false);
		this.#before = "";
	}

	// add keeps the end in view for whoever was there, or has just said something.
	#add(li, own) {
		const root = this.#root;
		const atEnd = root.scrollHeight - root.scrollTop - root.clientHeight < 40;
		root.append(li);
		while (root.childElementCount > limit) root.firstElementChild.remove();
		if (own || atEnd) root.scrollTop = root.scrollHeight;
	}
}
