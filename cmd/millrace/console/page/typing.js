// Who is typing: hearing it of others, and telling it of oneself.

const shown = 3000; // ms that one word of it lasts
const interval = 2000; // ms between two words of it, at least; shorter than they last, so that they meet

// Typists are those who were heard to type just now.
export class Typists {
	#timers = new Map(); // session → timer of its end
	#names = new Map();
	#changed;

	constructor(changed) {
		this.#changed = changed;
	}

	heard(session, name) {
		clearTimeout(this.#timers.get(session));
		this.#timers.set(session, setTimeout(() => this.stopped(session), shown));
		this.#names.set(session, name);
		this.#changed();
	}

	stopped(session) {
		clearTimeout(this.#timers.get(session));
		this.#timers.delete(session);
		if (this.#names.delete(session)) this.#changed();
	}

	clear() {
		for (const session of [...this.#names.keys()]) this.stopped(session);
	}

	has(session) {
		return this.#names.has(session);
	}

	toString() {
		const [one, two, ...more] = this.#names.values();
		if (!one) return "";
		if (!two) return `${one} is typing …`;
		if (!more.length) return `${one} and ${two} are typing …`;
		return `${one}, ${two} and ${more.length} more are typing …`;
	}
}

// Pen tells that one types, not more often than is of use.
export class Pen {
	#last = -Infinity;

	// stroke reports whether a key that was struck is to be told.
	stroke() {
		const now = performance.now();
		if (now - this.#last < interval) return false;
		this.#last = now;
		return true;
	}

	// lift lets the next stroke be told at once: what was typed is sent.
	lift() {
		this.#last = -Infinity;
	}
}
