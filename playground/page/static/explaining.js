// One document from a file, dropped on the page, chosen or pasted: what the service does with it.
import { postBytes } from "./api.js";
import { doing, el, facts, fill, json, say, table } from "./dom.js";

const LARGEST = 14 * 1024 * 1024; // bytes, as the service reads
const WHAT =
  "A push body, a notification, a customer, an order or a payment, or an answer of commercetools' API with one of them: one JSON document of at most 14 MiB.";
const HOW =
  "It is explained with the settings and the mapping of the running service; nothing is sent, and nothing of it is kept.";
const KINDS = { delivered: ["good", "✓"], ignored: ["open", "–"], refused: ["bad", "✕"], failed: ["bad", "✕"], unknown: ["open", "?"] };

/** Called once: the header's button, files that are dropped or pasted anywhere, and the dialog. */
export function setUp() {
  const parts = build();
  let given = null; // the bytes that are explained, forgotten when the dialog is closed

  const tell = (words, kind, answer = []) => {
    parts.verdict.hidden = !words;
    parts.verdict.className = `verdict ${kind}`;
    parts.verdict.textContent = words;
    fill(parts.answer, answer);
  };
  const open = () => {
    if (!parts.dialog.open) parts.dialog.showModal();
  };

  async function explain(bytes, name) {
    given = { bytes, name };
    open();
    tell("Explaining …", "");
    parts.title.textContent = `What happens with ${name}`;
    try {
      const found = await postBytes(`explain?read=${parts.read.checked ? 1 : 0}`, bytes);
      if (given?.bytes !== bytes) return;
      const [kind, words] = verdict(found);
      tell(words, kind, explanation(found));
      parts.dialog.scrollTop = 0;
      parts.give.open = false;
    } catch (error) {
      if (given?.bytes === bytes) wrong(error.message);
    }
  }

  function wrong(sentence) {
    open();
    parts.title.textContent = "Explain a file";
    tell(`✕ ${sentence}`, "bad");
  }

  async function take(file) {
    if (file.size > LARGEST) {
      given = null;
      wrong(`${file.name} is larger than 14 MiB, which is the most that a push may have.`);
    } else if (/\.toml$/i.test(file.name)) {
      given = null;
      wrong(`${file.name} looks like a mapping file: open it in the Mapping view.`);
    } else {
      try {
        await explain(await file.arrayBuffer(), file.name);
      } catch {
        wrong(`${file.name} cannot be read. A folder cannot be explained, one file can.`);
      }
    }
  }

  document.getElementById("open-file").addEventListener("click", () => {
    if (!given) {
      tell("", "");
      parts.title.textContent = "Explain a file";
      parts.give.open = true;
    }
    open();
  });
  const input = document.getElementById("file");
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (file) take(file);
    input.value = "";
  });
  parts.choose.addEventListener("click", () => input.click());
  parts.form.addEventListener("submit", (event) => {
    event.preventDefault();
    doing(parts.button, () => explain(new TextEncoder().encode(parts.pasted.value), "the pasted text"));
  });
  parts.read.addEventListener("change", () => given && explain(given.bytes, given.name));
  parts.dialog.addEventListener("close", () => {
    given = null;
    parts.pasted.value = "";
    tell("", "");
  });
  setUpDrop(take, parts.dialog);
  document.addEventListener("paste", (event) => {
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    const [file] = event.clipboardData.files;
    const text = event.clipboardData.getData("text");
    if (file) take(file);
    else if (text.trim().startsWith("{")) explain(new TextEncoder().encode(text), "the pasted text");
    else return;
    event.preventDefault();
  });
}

/** Take a file that is dropped anywhere, and show a target while one is dragged over the page. */
function setUpDrop(take, dialog) {
  const target = el("div", { class: "drop-target", hidden: true }, el("p", {}, el("strong", {}, "Drop one file to explain it."), el("br"), WHAT));
  let depth = 0;
  const isFile = (event) => event.dataTransfer?.types.includes("Files");
  const hide = () => {
    depth = 0;
    target.hidden = true;
  };
  document.addEventListener("dragenter", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    depth += 1;
    (dialog.open ? dialog : document.body).append(target); // above the dialog, which is in the top layer
    target.hidden = false;
  });
  document.addEventListener("dragover", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
  });
  document.addEventListener("dragleave", (event) => {
    if (!isFile(event)) return;
    depth -= 1;
    if (depth <= 0) hide();
  });
  document.addEventListener("drop", (event) => {
    if (!isFile(event)) return;
    event.preventDefault();
    hide();
    const files = event.dataTransfer.files;
    if (files.length > 1) say(`Only the first of the ${files.length} files is explained.`);
    if (files.length) take(files[0]);
  });
}

function build() {
  const parts = {
    title: el("h2", { id: "explained-title" }, "Explain a file"),
    choose: el("button", { type: "button", class: "main" }, "Choose a file …"),
    pasted: el("textarea", { id: "explained-text", rows: 6, required: true }),
    button: el("button", { type: "submit" }, "Explain the text"),
    read: el("input", { type: "checkbox", id: "explained-read" }),
    verdict: el("p", { id: "explained-verdict", role: "status", hidden: true }),
    answer: el("div", { id: "explained-answer" }),
  };
  parts.pasted.spellcheck = false;
  parts.form = el("form", { class: "give" },
    el("p", {}, `${WHAT} ${HOW}`),
    el("p", {}, parts.choose, " or drop one anywhere on the page, at any time."),
    el("label", { for: "explained-text" }, "Or paste the JSON"), parts.pasted, el("div", { class: "row" }, parts.button));
  parts.give = el("details", { open: true }, el("summary", {}, "Give a document"), parts.form);
  const close = el("button", { type: "button", onclick: () => parts.dialog.close() }, "Close");
  parts.dialog = el("dialog", { id: "explained", class: "explaining", "aria-labelledby": "explained-title" },
    el("header", {}, parts.title, close),
    el("div", {},
      parts.give,
      el("div", { class: "read" }, parts.read, el("label", { for: "explained-read" }, "Read it from commercetools as the service does (here: the shop of this page)")),
      el("div", { class: "answer" }, parts.verdict, parts.answer)));
  document.body.append(parts.dialog);
  return parts;
}

function verdict({ outcome, reason }) {
  const [kind, sign] = KINDS[outcome] ?? ["bad", "✕"];
  return [kind, `${sign} ${outcome[0].toUpperCase()}${outcome.slice(1)}${reason ? `: ${reason}` : ""}`];
}

function explanation(found, needs = null) {
  const [kind, words] = verdict(found);
  const pairs = [...found.what, ...(found.erased ? [["erased", found.erased]] : [])];
  if (found.size) pairs.push(["size", `${(found.size / 1024).toFixed(1)} of ${found.largest / 1024} KiB, ${found.events.length > 1 ? "of the largest event" : "of the event"}`]);
  return [
    needs ? [el("h3", {}, `With ${needs.join(" and ")}`), el("p", { class: `verdict ${kind}` }, words)] : null,
    pairs.length ? facts(pairs) : null,
    found.notes.length ? [el("h3", {}, "Notes"), el("ul", { class: "notes" }, found.notes.map((note) => el("li", {}, note)))] : null,
    found.who.length ? origins("Who bought", "who", found.who) : null,
    found.sums.length ? sums(found.sums) : null,
    found.traits.length ? origins("Traits, and where each came from", "trait", found.traits) : null,
    found.events.length ? el("h3", {}, found.events.length > 1 ? `What Segment gets: ${found.events.length} events` : "What Segment gets") : null,
    found.events.map((event, index) => one(event, index)),
    found.otherwise ? explanation(found.otherwise, found.otherwise.needs) : null,
  ].flat(2);
}

function one(event, index) {
  const name = event.event ? `${event.type}: ${event.event}` : event.type ?? "event";
  return el("details", { open: index < 3 }, el("summary", {}, name), json(event, `JSON of ${name}`));
}

function origins(title, what, rows) {
  const withLines = rows.some((row) => row.line);
  const heads = [what, "value", "commercetools' field", ...(withLines ? ["file"] : [])];
  return titled(title, heads, rows.map((row) =>
    el("tr", { class: row.sent ? null : "absent" },
      el("th", { scope: "row" }, row.name),
      el("td", { "data-label": "value" }, row.sent ? row.value || "null" : row.value ? `${row.value} (not sent)` : "not sent"),
      el("td", { "data-label": "from" }, row.why),
      withLines ? el("td", { "data-label": "file" }, row.line ?? "") : null)));
}

const PROPERTIES = new Set(["discount", "shipping", "subtotal", "tax", "total", "total of the refund"]);

function sums(rows) {
  return titled("Amounts", ["amount", "value", "how", "commercetools' field"], rows.map((row) =>
    el("tr", { class: PROPERTIES.has(row.name) ? null : "part" },
      el("th", { scope: "row" }, row.name),
      el("td", { class: "number", "data-label": "value" }, row.amount),
      el("td", { "data-label": "how" }, row.how),
      el("td", { class: "muted", "data-label": "field" }, row.field))));
}

function titled(title, heads, rows) {
  return [el("h3", {}, title), table({}, heads, rows, { label: title, cards: true })];
}
