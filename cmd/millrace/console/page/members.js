// The members of a room, as the frames of that name add up to them: first everyone, then what has changed.

export class Members {
	constructor() {
		this.clear();
	}

	clear() {
		this.list = new Map(); // session → {session, subject, name, joined}
		this.count = 0;
		this.subjects = 0; // distinct ones; anonymous members have none
		this.listed = true; // false: there are too many, and only the counts are told
	}

	// apply takes a frame and returns who came, changed (with the name before) and went by it. A reset tells nobody's coming
	// or going: it is how things are.
	apply(frame) {
		const news = {came: [], changed: [], went: []};
		this.count = frame.count ?? 0;
		this.subjects = frame.subjects ?? 0;
		if (frame.reset) this.list.clear();
		if (frame.reset) this.listed = true;
		if (frame.countOnly) {
			this.list.clear();
			this.listed = false;
			return news;
		}
		for (const m of frame.left ?? []) {
			const member = this.list.get(m.session);
			if (!member) continue;
			this.list.delete(m.session);
			news.went.push(member);
		}
		for (const m of frame.joined ?? []) {
			const member = memberOf(m);
			this.list.set(m.session, member);
			if (!frame.reset) news.came.push(member);
		}
		for (const m of frame.updated ?? []) {
			const before = this.list.get(m.session);
			const member = memberOf(m);
			this.list.set(m.session, member);
			if (before && before.name !== member.name) news.changed.push({...member, before: before.name});
		}
		return news;
	}

	// nameOf is what a session calls itself, if it is known to be here.
	nameOf(session) {
		return this.list.get(session)?.name;
	}
}

// memberOf reads a member. What it shows of itself is its own choice, so it may be anything.
export function memberOf({session, subject = "", data, joinedMs}) {
	const name = typeof data?.name === "string" ? data.name.trim().slice(0, 60) : "";
	return {session, subject, name: name || subject || `guest ${session.slice(0, 4)}`, joined: Number(joinedMs ?? 0)};
}
