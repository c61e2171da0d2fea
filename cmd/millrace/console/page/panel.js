// The panel of members: how many there are and, unless there are too many, who.

const ago = new Intl.RelativeTimeFormat("en", {numeric: "always", style: "short"});
const clock = new Intl.DateTimeFormat(undefined, {dateStyle: "medium", timeStyle: "medium"});
const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
const refresh = 15000; // ms between two looks at how long ago it was

// since says how long ago a time was, as coarse as people do.
function since(time) {
	const seconds = (Date.now() - time) / 1000; // by two clocks, so it may be less than nothing
	for (const [unit, length] of units) {
		if (seconds >= length) return ago.format(-Math.floor(seconds / length), unit);
	}
	return "just now";
}

// hueOf gives each session a colour of its own.
export function hueOf(session) {
	let hash = 0;
	for (const c of session) hash = (hash * 31 + c.charCodeAt(0)) % 360;
	return hash;
}

// portrait is the mark of a session: the first letter of its name on its colour.
export function portrait(session, name) {
	const mark = document.createElement("span");
	mark.className = "portrait";
	mark.textContent = [...name.trim()][0]?.toUpperCase() ?? "?";
	mark.style.setProperty("--hue", hueOf(session));
	mark.setAttribute("aria-hidden", "true");
	return mark;
}

export class Panel {
	#list;
	#count;
	#note;
	#rows = new Map(); // session → {row, member}
	#drawing = false;
	#draw = () => {};

	constructor({list, count, note}) {
		this.#list = list;
		this.#count = count;
		this.#note = note;
		setInterval(() => this.#rows.forEach(({row, member}) => this.#date(row, member)), refresh);
	}

	// show brings the panel up to date when the browser paints, once for all that came since.
	show(members, own, typists) {
		this.#draw = () => this.#paint(members, own, typists);
		if (this.#drawing) return;
		this.#drawing = true;
		requestAnimationFrame(() => {
			this.#drawing = false;
			this.#draw();
		});
	}

	#paint(members, own, typists) {
		this.#count.textContent = members.count.toLocaleString();
		const subjects = members.subjects ? ` of ${members.subjects.toLocaleString()} subject${members.subjects === 1 ? "" : "s"}` : "";
		this.#note.textContent = members.listed ? "" : `Too many to be listed: ${members.count.toLocaleString()} sessions${subjects}.`;
		for (const [session, {row}] of this.#rows) {
			if (members.list.has(session)) continue;
			this.#rows.delete(session);
			row.remove();
		}
		// Oneself first, then whoever has been here longest. Rows that stay are moved, not made anew.
		const order = [...members.list.values()].sort((a, b) => (b.session === own) - (a.session === own) || a.joined - b.joined || (a.session < b.session ? -1 : 1));
		let place = this.#list.firstElementChild;
		for (const member of order) {
			const row = this.#row(member, own, typists);
			if (row === place) place = place.nextElementSibling;
			else this.#list.insertBefore(row, place);
		}
	}

	#row(member, own, typists) {
		const known = this.#rows.get(member.session);
		const row = known?.row ?? document.createElement("li");
		if (known?.member !== member || row.dataset.own !== String(member.session === own)) this.#fill(row, member, own);
		this.#rows.set(member.session, {row, member});
		row.toggleAttribute("data-typing", typists.has(member.session));
		return row;
	}

	#fill(row, member, own) {
		Object.assign(row.dataset, {testid: "member", session: member.session, name: member.name, own: String(member.session === own)});
		const name = document.createElement("span");
		name.className = "member-name";
		name.textContent = member.name;
		const about = document.createElement("span");
		about.className = "about";
		const time = document.createElement("time");
		about.append(time);
		const who = document.createElement("span");
		who.append(name);
		if (member.session === own) {
			const you = document.createElement("span");
			you.className = "you";
			you.textContent = "you";
			who.append(" ", you);
		}
		if (member.subject && member.subject !== member.name) about.prepend(`${member.subject} · `);
		row.replaceChildren(portrait(member.session, member.name), who, about);
		row.title = `session ${member.session}`;
		this.#date(row, member);
	}

	#date(row, member) {
		const time = row.querySelector("time");
		time.textContent = `joined ${since(member.joined)}`;
		time.dateTime = new Date(member.joined).toISOString();
		time.title = clock.format(member.joined);
	}
}
