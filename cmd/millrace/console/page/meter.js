// The throughput: events a second over the last minute, as a line.

const seconds = 60;

export class Meter {
	#line;
	#rate;
	#bins = new Array(seconds).fill(0);
	#current = 0;

	constructor(line, rate) {
		this.#line = line;
		this.#rate = rate;
		this.#draw();
		setInterval(() => this.#tick(), 1000);
	}

	count() {
		this.#current++;
	}

	#tick() {
		this.#bins.push(this.#current);
		this.#bins.shift();
		this.#current = 0;
		this.#rate.textContent = this.#bins.at(-1).toLocaleString();
		this.#draw();
	}

	#draw() {
		const top = Math.max(5, ...this.#bins);
		this.#line.setAttribute("points", this.#bins.map((n, i) => `${i * seconds / (seconds - 1)},${19 - 18 * n / top}`).join(" "));
	}
}
