// The list of what came, newest first and bounded. Rows are made when the browser paints, so that a fast topic costs the
// page no more than it can show.

const limit = 500;

const clock = new Intl.DateTimeFormat(undefined, {hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23"});

function element(tag, className, text) {
	const e = document.createElement(tag);
	if (className) e.className = className;
	if (text !== undefined) e.textContent = text;
	return e;
}

export class List {
	#root;
	#queue = [];
	#painting = false;

	constructor(root) {
		this.#root = root;
	}

	add(item) {
		this.#queue.push({time: Date.now(), ...item});
		if (this.#queue.length > limit) this.#queue.shift();
		if (this.#painting) return;
		this.#painting = true;
		requestAnimationFrame(() => this.#paint());
	}

	clear() {
		this.#queue = [];
		this.#root.replaceChildren();
	}

	#paint() {
		this.#painting = false;
		this.#root.prepend(...this.#queue.map(row).reverse());
		this.#queue = [];
		while (this.#root.childElementCount > limit) this.#root.lastElementChild.remove();
	}
}

function row(item) {
	switch (item.kind) {
	case "event": return eventRow(item);
	case "gap": return gapRow(item);
	default: return band(item.kind, item.title, item.text, item.time);
	}
}

function band(kind, title, text, time) {
	const li = element("li", `band ${kind}`);
	li.dataset.testid = kind;
	li.append(element("strong", "", title), element("span", "", text), element("time", "", clock.format(time)));
	return li;
}

function gapRow({gap, time}) {
	const {topic, cause, after, until} = gap;
	if (!until) return band("gap", "Gap", `${topic}: ${gap.count ?? "some"} events not delivered: ${cause}.`, time);
	const missing = BigInt(until.offset) - BigInt(after.offset);
	const text = cause === "reset"
		? `${topic}: reset. The log that held ${after.offset}-${after.mark} is not this one; it goes on after ${until.offset}-${until.mark}.`
		: `${topic}: ${missing} event${missing === 1n ? "" : "s"} not delivered, ${BigInt(after.offset) + 1n} to ${until.offset}: ${cause}.`;
	const li = band("gap", "Gap", text, time);
	Object.assign(li.dataset, {topic, cause, after: after.offset, until: until.offset});
	return li;
}

function eventRow({event, returned, time}) {
	const {topic, position, name} = event;
	const stored = event.timeMs ? Number(event.timeMs) : time;
	const text = textOf(event);
	const li = element("li");
	const details = element("details", returned ? "event returned" : "event");
	Object.assign(details.dataset, {testid: "event", topic, offset: position?.offset ?? "", mark: position?.mark ?? "", name: name ?? "", returned: String(Boolean(returned))});
	const summary = element("summary");
	const offset = element("span", "offset", position?.offset ?? "–");
	offset.title = position ? `position ${position.offset}-${position.mark}${returned ? ", came back after a resume" : ""}` : "ephemeral: no position";
	summary.append(
		offset,
		element("span", "topic", topic),
		element("span", name ? "name" : "name none", name || "message"),
		element("span", "data", text.slice(0, 400)),
		element("span", "time", clock.format(stored)),
	);
	details.append(summary);
	details.addEventListener("toggle", () => details.childElementCount > 1 || details.append(particulars(event, text)), {once: true});
	li.append(details);
	return li;
}

// textOf shows the payload, in whichever form it came.
function textOf(event) {
	if (event.text !== undefined) return event.text;
	if (event.data !== undefined) return JSON.stringify(event.data);
	if (event.binary !== undefined) return `${event.binary} (binary, in base64)`;
	return "";
}

function particulars(event, text) {
	const dl = element("dl");
	const term = (name, value) => value && dl.append(element("dt", "", name), element("dd", "", value));
	term("position", event.position && `${event.position.offset}-${event.position.mark}`);
	term("id", event.id);
	term("key", event.key);
	term("type", event.contentType);
	term("sender", event.sender && [event.sender.subject, event.sender.session && `session ${event.sender.session}`].filter(Boolean).join(", "));
	for (const header of event.headers ?? []) term(header.name, header.value);
	term("data", event.data === undefined ? text : JSON.stringify(event.data, null, 2));
	return dl;
}
