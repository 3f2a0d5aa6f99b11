// The messages of the topic, newest first, and the way of the one that is chosen.
import { get } from "./api.js";
import { el, empty, fill, json, setText, short, time } from "./dom.js";
import { onFrame } from "./live.js";

const MOST = 5000;
const SPARE_ROWS = 6; // beyond the visible ones, so that scrolling shows no gap
const OUTCOMES = {
  open: ["…", "open", "open"],
  delivered: ["✓", "delivered", "good"],
  ignored: ["–", "ignored", "none"],
  refused: ["!", "refused", "bad"],
  failed: ["↻", "failed, to be retried", "open"],
  "given up": ["✗", "given up", "bad"],
};

const known = []; // the newest rows, by their number
const numbers = new Map(); // a row's message id -> its number
let view = null;

function take(rows, fresh) {
  if (fresh) {
    known.length = 0;
    numbers.clear();
  }
  for (const row of rows) {
    const at = place(row.n);
    if (known[at]?.n === row.n) known[at] = row;
    else known.splice(at, 0, row);
    numbers.set(row.id, row.n);
  }
  for (const row of known.splice(0, Math.max(0, known.length - MOST))) numbers.delete(row.id);
}

/** Where a row of this number is, or belongs. Nearly always it is one of the newest. */
function place(number) {
  let [low, high] = [0, known.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (known[middle].n < number) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Collect rows from the start on, also while another view is shown. */
export function listen() {
  onFrame(({ rows, fresh }) => {
    if (!rows.length && !fresh) return;
    take(rows, fresh);
    view?.update(rows);
  });
}

export function mount(section) {
  view = new MessagesView(section);
  view.update([]);
}

/** `resource/ID` shows what is about one resource, an id of a message its way. */
export function shown(rest) {
  const [first, id] = rest.split("/");
  if (first === "resource" && id) view.search(id);
  else if (first) view.open(first);
  view.draw();
}

class MessagesView {
  constructor(section) {
    this.rows = [];
    this.chosen = null;
    this.elements = [];
    this.text = el("input", { type: "search", id: "messages-search", placeholder: "kind, id, reason", oninput: () => this.filter() });
    this.outcome = el(
      "select",
      { id: "messages-outcome", onchange: () => this.filter() },
      el("option", { value: "" }, "all"),
      Object.entries(OUTCOMES).map(([value, [, label]]) => el("option", { value }, label)),
    );
    this.type = el(
      "select",
      { id: "messages-type", onchange: () => this.filter() },
      ["", "customer", "order", "payment", "other"].map((value) => el("option", { value }, value || "all")),
    );
    this.found = el("p", { class: "muted count", role: "status" });
    this.inner = el("div", { class: "message-rows", role: "presentation" });
    this.list = el(
      "div",
      {
        class: "message-list", id: "messages-list", role: "listbox", tabIndex: 0, "aria-label": "Messages, newest first",
        onscroll: () => this.draw(), onkeydown: (event) => this.key(event), onclick: (event) => this.click(event),
      },
      this.inner,
    );
    this.nothing = empty(
      "No message yet. Move “Changes a second” at the top, or change something in the shop.",
      el("a", { href: "#shop" }, "Open the shop"),
    );
    this.noMatch = el("div", { class: "empty" }, el("p", {}, "No message matches."), el("button", { type: "button", onclick: () => this.search("") }, "Show all"));
    this.way = el("div", { class: "panel way", id: "journey", tabIndex: -1, role: "region", "aria-label": "The way of the message" });
    section.append(
      el(
        "form",
        { class: "row filters", onsubmit: (event) => event.preventDefault() },
        el("label", { for: "messages-search" }, "Search"), this.text,
        el("label", { for: "messages-outcome" }, "Outcome"), this.outcome,
        el("label", { for: "messages-type" }, "Resource"), this.type,
        this.found,
      ),
      el(
        "div",
        { class: "split" },
        el("div", { class: "panel messages" },
          el("div", { class: "message heading", "aria-hidden": "true" },
            ["", "time", "message", "about", "version", "attempt", "ms", "reason"].map((name) => el("span", {}, name))),
          this.list, this.nothing, this.noMatch),
        this.way,
      ),
    );
    fill(this.way, empty("Choose a message to see its way from commercetools to Segment, step by step."));
    new ResizeObserver(() => this.draw()).observe(this.list);
  }

  search(text) {
    this.text.value = text;
    this.outcome.value = this.type.value = "";
    this.filter();
  }

  /** Take over rows that have changed, and keep what is looked at where it is. */
  update(changed) {
    const before = this.rows[0]?.n;
    this.select();
    const isReading = this.list.scrollTop > 0 && before !== undefined;
    if (isReading) {
      const added = this.rows.findIndex((row) => row.n === before);
      if (added > 0) this.list.scrollTop += added * this.height();
    }
    this.draw();
    if (this.chosen && changed.some((row) => row.id === this.chosen)) this.load(this.chosen);
  }

  filter() {
    this.select();
    this.list.scrollTop = 0;
    this.draw();
  }

  select() {
    const [text, outcome, type] = [this.text.value.trim().toLowerCase(), this.outcome.value, this.type.value];
    const isOther = (row) => !["customer", "order", "payment"].includes(row.type);
    this.rows = [];
    for (let at = known.length - 1; at >= 0; at -= 1) {
      const row = known[at];
      if (outcome && row.outcome !== outcome) continue;
      if (type && (type === "other" ? !isOther(row) : row.type !== type)) continue;
      if (text && !`${row.kind} ${row.resource} ${row.id} ${row.reason}`.toLowerCase().includes(text)) continue;
      this.rows.push(row);
    }
    const found = this.rows.length === known.length ? "" : `${this.rows.length} of `;
    const told = known.length ? `${found}${known.length} messages` : "";
    setText(this.found, told);
    this.nothing.hidden = known.length > 0;
    this.noMatch.hidden = known.length === 0 || this.rows.length > 0;
    this.list.hidden = this.rows.length === 0;
  }

  /** The height of a row in px, which follows the font's size. */
  height() {
    return 2 * parseFloat(getComputedStyle(document.documentElement).fontSize);
  }

  /** Show the visible rows, with as few elements as that takes. */
  draw() {
    if (this.list.hidden || !this.list.clientHeight) return;
    const height = this.height();
    const first = Math.max(0, Math.floor(this.list.scrollTop / height) - SPARE_ROWS);
    const last = Math.min(this.rows.length, Math.ceil((this.list.scrollTop + this.list.clientHeight) / height) + SPARE_ROWS);
    this.inner.style.height = `${this.rows.length * height}px`;
    while (this.elements.length < last - first) {
      const element = rowElement();
      this.elements.push(element);
      this.inner.append(element);
    }
    this.elements.forEach((element, at) => {
      const row = first + at < last ? this.rows[first + at] : undefined;
      element.hidden = row === undefined;
      if (row) showRow(element, row, first + at, this.rows.length, height, row.id === this.chosen);
    });
    this.list.setAttribute("aria-activedescendant", this.chosen ? `message-${this.chosen}` : "");
  }

  click(event) {
    const id = event.target.closest(".message")?.dataset.id;
    if (id) this.open(id);
  }

  key(event) {
    const at = this.rows.findIndex((row) => row.id === this.chosen);
    const page = Math.max(1, Math.floor(this.list.clientHeight / this.height()) - 1);
    const moves = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.rows.length - 1 };
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      if (at < 0 && this.rows.length) this.open(this.rows[0].id);
      this.way.focus();
      return;
    }
    if (!(event.key in moves) || !this.rows.length) return;
    event.preventDefault();
    const to = Math.min(this.rows.length - 1, Math.max(0, moves[event.key]));
    this.open(this.rows[to].id);
    const [top, height] = [to * this.height(), this.height()];
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    if (top + height > this.list.scrollTop + this.list.clientHeight) this.list.scrollTop = top + height - this.list.clientHeight;
    this.draw();
  }

  open(id) {
    this.chosen = id;
    this.attempt = null;
    this.draw();
    this.load(id);
  }

  async load(id) {
    if (this.loading) {
      this.again = true;
      return;
    }
    this.loading = true;
    try {
      const journey = await get(`messages/${encodeURIComponent(id)}`);
      if (id === this.chosen) this.showWay(journey);
    } catch (error) {
      if (id === this.chosen) fill(this.way, el("p", {}, error.message));
    } finally {
      this.loading = false;
    }
    if (this.again || id !== this.chosen) {
      this.again = false;
      this.load(this.chosen);
    }
  }

  showWay(journey) {
    const text = JSON.stringify(journey);
    if (text === this.shownWay) return;
    this.shownWay = text;
    const { row, attempts } = journey;
    const attempt = attempts.find((one) => one.number === this.attempt) ?? attempts[0];
    const open = new Set([...this.way.querySelectorAll("details[open]")].map((one) => one.dataset.step));
    const hadSteps = this.way.querySelector("details") !== null;
    const choose = attempts.length > 1 && el(
      "p", { class: "row" },
      el("label", { for: "attempt" }, "Attempt"),
      el("select", { id: "attempt", onchange: (event) => { this.attempt = Number(event.target.value); this.shownWay = ""; this.showWay(journey); } },
        attempts.map((one) => el("option", { value: one.number, selected: one === attempt }, `${one.number}: ${one.status ?? "no answer"}, ${one.ms} ms`))),
    );
    const resource = { customer: "customer", order: "order" }[row.type];
    fill(
      this.way,
      el("h3", {}, row.kind, " ", outcomeTag(row.outcome)),
      el("p", { class: "muted" }, `Message ${row.id}, published at ${time(row.at)}`,
        row.resource && [`, about ${row.type} `, resource ? el("a", { href: `#shop/${resource}/${row.resource}` }, row.resource) : row.resource, row.version === null ? "" : `, version ${row.version}`]),
      row.reason && el("p", {}, el("strong", {}, "Why: "), row.reason),
      choose,
      attempt
        ? el("ol", { class: "steps" }, attempt.steps.map((step) => stepElement(step, open, hadSteps)))
        : el("p", {}, "Pub/Sub has not pushed it yet."),
    );
  }
}

function outcomeTag(outcome) {
  const [mark, label, kind] = OUTCOMES[outcome];
  return el("span", { class: `tag ${kind}` }, `${mark} ${label}`);
}

function stepElement(step, open, hadSteps) {
  return el(
    "li",
    { class: step.end ? "step end" : "step" },
    el("h4", {}, step.name),
    el("p", {}, step.text),
    step.end && el("p", { class: "ended" }, el("strong", {}, "It ended here: "), step.end),
    step.json !== null && el(
      "details", { "data-step": step.name, open: open.has(step.name) || (!hadSteps && step.name === "Events") },
      el("summary", {}, `${step.name} as JSON`),
      json(step.json, `${step.name} as JSON`),
    ),
  );
}

function rowElement() {
  const element = el("div", { class: "message", role: "option" });
  element.cells = Array.from({ length: 8 }, () => element.appendChild(el("span")));
  return element;
}

function showRow(element, row, at, all, height, isChosen) {
  const top = `translateY(${at * height}px)`;
  if (element.style.transform !== top) element.style.transform = top;
  element.setAttribute("aria-selected", String(isChosen));
  element.setAttribute("aria-posinset", at + 1);
  element.setAttribute("aria-setsize", all);
  if (element.row === row) return;
  element.row = row;
  element.id = `message-${row.id}`;
  element.dataset.id = row.id;
  const [mark, label, kind] = OUTCOMES[row.outcome];
  const about = row.resource ? `${row.type} ${short(row.resource)}` : row.type;
  const texts = [mark, time(row.at), row.kind, about, row.version ?? "", row.attempt || "", row.ms?.toFixed(1) ?? "", row.reason || label];
  texts.forEach((text, cell) => setText(element.cells[cell], String(text)));
  element.cells[0].className = `mark tag ${kind}`;
  element.setAttribute("aria-label", `${row.kind}, ${about}, ${label}${row.reason ? `: ${row.reason}` : ""}, attempt ${row.attempt}`);
}
