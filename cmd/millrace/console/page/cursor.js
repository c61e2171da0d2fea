// A cursor as a peer keeps it: its beginning, which the server tells, and a piece for each topic. Offsets and marks are 64-bit
// numbers, so they stay text, and are compared as BigInt.

// What the beginning is of has a letter and a dot before it: the seal, options, and the topics that are joined.
const ofBeginning = /^[a-z]\./;

export class Cursor {
	constructor() {
		this.beginning = "";
		this.pieces = new Map();
	}

	// move sets where a topic stands; null if it has no position, or none yet.
	move(topic, position) {
		this.pieces.set(topic, position);
	}

	// hold keeps a topic that waits for its position, where it stands.
	hold(topic) {
		if (!this.pieces.has(topic)) this.move(topic, null);
	}

	drop(topic) {
		this.pieces.delete(topic);
	}

	toString() {
		const items = this.beginning ? [this.beginning] : [];
		for (const [topic, at] of this.pieces) {
			const name = encodeURIComponent(topic).replaceAll("%3A", ":");
			items.push(at ? `${at.offset}-${at.mark}-${name}` : `--${name}`);
		}
		return items.join(",");
	}

	// parse reads the text of a cursor, such as the id of an event of an EventSource. It returns the topic of the last
	// piece too, which is the one that moved.
	static parse(text) {
		const cursor = new Cursor();
		const beginning = [];
		let last = "";
		for (const item of text.split(",")) {
			if (ofBeginning.test(item)) {
				beginning.push(item);
				continue;
			}
			const [offset, mark, ...rest] = item.split("-");
			if (!rest.length) continue;
			last = decodeURIComponent(rest.join("-"));
			cursor.move(last, offset === "" ? null : {offset, mark});
		}
		cursor.beginning = beginning.join(",");
		return {cursor, last};
	}
}

// Ledger checks the promise: each event of a topic follows on the one before, and none comes twice.
export class Ledger {
	constructor() {
		this.offsets = new Map();
	}

	// expect sets where a topic stands, after a subscription or a gap.
	expect(topic, offset) {
		this.offsets.set(topic, BigInt(offset));
	}

	// follows reports whether an event is the very next.
	follows(topic, offset) {
		const before = this.offsets.get(topic);
		this.offsets.set(topic, BigInt(offset));
		return before === undefined || BigInt(offset) === before + 1n;
	}
}

// Recovery counts what comes back after a resume, against what the log had when it began.
export class Recovery {
	// heads has, by topic, the position at which the log stood; held has the positions of the cursor. Without heads there is
	// nothing to count against.
	constructor(heads, held) {
		this.known = heads !== null;
		this.reset = false;
		this.heads = new Map();
		this.returned = 0;
		this.missed = 0;
		this.reported = 0;
		for (const [topic, head] of heads ?? []) {
			const from = held.get(topic);
			if (!from) continue;
			const missing = BigInt(head.offset) - BigInt(from.offset);
			if (missing > 0n) {
				this.missed += Number(missing);
				this.heads.set(topic, BigInt(head.offset));
			}
		}
	}

	// returns reports whether an event is one of those that were missed, and counts it.
	returns(topic, offset) {
		const head = this.heads.get(topic);
		if (head === undefined || BigInt(offset) > head) return false;
		this.returned++;
		if (BigInt(offset) === head) this.heads.delete(topic);
		return true;
	}

	// gap counts what a gap names. After a reset the extent is unknown, so nothing more is waited for in the topic.
	gap(gap) {
		if (gap.cause === "reset") this.reset = true;
		if (!this.heads.has(gap.topic)) return;
		if (gap.cause === "reset") this.heads.delete(gap.topic);
		else this.reported += Number(BigInt(gap.until.offset) - BigInt(gap.after.offset));
	}

	get done() {
		return this.heads.size === 0;
	}

	toString() {
		const events = n => `${n} event${n === 1 ? "" : "s"}`;
		if (this.reset) return "A log is not the one that was read: see the gap.";
		if (!this.known) return "Resumed by cursor.";
		if (this.missed === 0 && this.returned === 0) return "Nothing was missed.";
		const gap = this.reported ? ` A gap names the other ${this.reported}.` : "";
		if (!this.done) return `${this.returned} of ${events(this.missed)} came back so far …`;
		return `${this.returned} of ${events(this.missed)} came back by cursor.${gap}`;
	}
}
