// The shop's mapping file: an editor with the loader's mistakes, what changes for customers, and the service with it.
import { get, post } from "./api.js";
import { counted, doing, el, empty, fill, say, setText, table } from "./dom.js";
import { onFrame, state } from "./live.js";

const LARGEST = 256 * 1024; // bytes, as the loader reads
const PAUSE = 300; // ms without a key until the text is checked

let view = null;

export function mount(section) {
  view = setUp(section);
}

/** `#mapping/line/12` moves the cursor to that line. */
export function shown(rest) {
  const [what, line] = rest.split("/");
  if (what === "line" && Number(line) > 0) view?.goTo(Number(line));
}

function setUp(section) {
  const parts = build(section);
  const { area, gutter, wrapper, checked, mistakes, results, onlyChanges, applyButton, builtInButton, inForce, outcome } = parts;
  let chosen = []; // ids of customers, in their order
  let valid = false;
  let latest = 0; // the number of the newest check
  let timer = 0;
  let compared = null;
  let lines = 0;
  let wrong = new Map();

  // The editor

  const drawGutter = () => {
    const count = area.value.split("\n").length;
    if (count !== lines) {
      lines = count;
      fill(gutter, Array.from({ length: count }, (_, index) => el("div", {}, String(index + 1))));
      markLines();
    }
    gutter.scrollTop = area.scrollTop;
  };
  const markLines = () => {
    [...gutter.children].forEach((row, index) => {
      const told = wrong.get(index + 1);
      row.className = told ? "wrong" : "";
      row.textContent = told ? `✕ ${index + 1}` : String(index + 1);
      row.title = told ?? "";
    });
  };
  const goTo = (line, column = 1) => {
    const before = area.value.split("\n").slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    const length = (area.value.split("\n")[line - 1] ?? "").length;
    const at = before + Math.min(column - 1, length);
    area.focus();
    area.setSelectionRange(at, column > 1 ? at : before + length);
    const height = area.scrollHeight / Math.max(1, lines);
    area.scrollTop = Math.max(0, (line - 1) * height - area.clientHeight / 2);
    area.scrollLeft = 0;
    gutter.scrollTop = area.scrollTop;
  };
  const replace = (text, whole = true) => {
    area.focus();
    if (whole) area.select();
    // So that Ctrl+Z brings back what was there.
    if (!document.execCommand("insertText", false, text)) area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
    if (whole) {
      area.setSelectionRange(0, 0);
      area.scrollTop = 0;
    }
    changed();
  };
  const changed = () => {
    drawGutter();
    clearTimeout(timer);
    timer = setTimeout(check, PAUSE);
    results.classList.add("stale");
  };
  setUpTab(area, replace);
  area.addEventListener("input", changed);
  area.addEventListener("scroll", () => (gutter.scrollTop = area.scrollTop));

  // What the loader says, and what changes

  async function check() {
    clearTimeout(timer);
    const number = (latest += 1);
    let found;
    try {
      found = await post("mapping/check", { text: area.value, customers: chosen });
    } catch (error) {
      if (number === latest) say(error.message, "bad");
      return;
    }
    if (number !== latest) return;
    showMistakes(found.mistakes);
    compared = found.mistakes.length ? null : found;
    showCompared();
  }

  function showMistakes(found) {
    valid = found.length === 0;
    wrong = new Map(found.filter((one) => one.line).map((one) => [one.line, one.text]));
    markLines();
    wrapper.classList.toggle("wrong", !valid);
    area.setAttribute("aria-invalid", String(!valid));
    tell(checked, valid ? "✓ The file is valid." : `✕ ${counted(found.length, "mistake")}`, `checked ${valid ? "good" : "bad"}`);
    mistakes.hidden = valid;
    fill(
      mistakes,
      el("ol", {}, found.map((one) => el("li", {}, one.line ? link(one) : null, one.line ? ": " : "", one.text))),
    );
    enable();
  }

  const link = ({ line, column }) =>
    el("a", { href: `#mapping/line/${line}`, onclick: (event) => (event.preventDefault(), goTo(line, column ?? 1)) }, `Line ${line}`);

  function showCompared() {
    results.classList.remove("stale");
    if (!valid) {
      fill(results, empty("Mend the mistakes first: then it is shown what changes for each customer."));
      return;
    }
    if (!compared) return;
    const same = compared.same ? el("p", { class: "muted" }, "This text has the rules that are in force: nothing changes.") : null;
    const customers = compared.customers.map((one) => comparedCustomer(one));
    const order = compared.order ? comparedOrder(compared.order) : null;
    const none = customers.length ? null : empty("Choose a customer above to see what changes.");
    fill(results, same, customers, none, order);
  }

  function comparedCustomer(one) {
    const without = (event) => {
      chosen = chosen.filter((id) => id !== one.id);
      compared.customers = compared.customers.filter((each) => each.id !== one.id);
      event.target.closest("section").remove();
      parts.search.focus();
      if (!chosen.length) showCompared();
    };
    const name = one.gone ? one.id : one.email;
    const remove = el("button", { type: "button", "aria-label": `Do not compare ${name}`, onclick: without }, "Remove");
    if (one.gone) return block(name, "This customer was deleted.", null, remove);
    return block(name, one.name, one.rows, remove);
  }

  function comparedOrder(order) {
    if (!order.rows) return block("The newest order", order.why, null);
    return block(`The newest order, ${order.number || order.id}`, `Its event ${order.event}, as at its creation`, order.rows);
  }

  function block(title, note, rows, ...actions) {
    const differing = (rows ?? []).filter((row) => row.change);
    const tag = rows && el("span", { class: `tag ${differing.length ? "" : "none"}` }, differing.length ? `≠ ${counted(differing.length, "difference")}` : "= no difference");
    const seen = onlyChanges.checked ? differing : rows;
    return el(
      "section",
      { class: "compared", "aria-label": title },
      el("header", {}, el("h4", {}, title), tag, actions),
      note ? el("p", { class: "muted" }, note) : null,
      seen?.length ? tableOf(title, seen) : null,
    );
  }

  onlyChanges.addEventListener("change", showCompared);

  // The customers to compare

  const choose = (ids) => {
    chosen = [...new Set([...ids, ...chosen])].slice(0, 20);
    fill(parts.found);
    check();
  };
  parts.form.addEventListener("submit", (event) => {
    event.preventDefault();
    doing(parts.searchButton, async () => {
      const words = parts.search.value.trim();
      const { customers } = await get(`mapping/customers?search=${encodeURIComponent(words)}`);
      if (!customers.length) return say(words ? "No customer has this id, or an address with these words." : "The shop has no customers yet.");
      if (customers.length === 1 || !words) return choose(customers.map((one) => one.id));
      fill(parts.found, customers.map((one) => el("li", {}, el("button", { type: "button", onclick: () => choose([one.id]) }, one.email, one.name ? ` · ${one.name}` : ""))));
      parts.found.querySelector("button").focus();
      return undefined;
    });
  });
  parts.anybody.addEventListener("click", () =>
    doing(parts.anybody, async () => {
      const { customers } = await get("mapping/customers");
      chosen = [];
      choose(customers.map((one) => one.id));
      if (!customers.length) say("The shop has no customers yet: create one in the Shop view.");
    }),
  );

  // The service with it

  let inUse = false;
  function enable() {
    applyButton.disabled = !valid || inUse;
    builtInButton.disabled = inUse || (state()?.mapping.built_in ?? true);
  }
  async function change(path, body, doingWhat) {
    inUse = true;
    enable();
    tell(outcome, doingWhat, "outcome");
    outcome.hidden = false;
    try {
      tell(outcome, (await post(path, body)).said, "outcome");
    } catch (error) {
      tell(outcome, error.message, "outcome bad");
    }
    inUse = false;
    enable();
    check();
  }
  applyButton.addEventListener("click", () => change("mapping/apply", { text: area.value }, "Restarting the service with this mapping …"));
  builtInButton.addEventListener("click", () => change("mapping/built-in", {}, "Restarting the service with the built-in mapping …"));
  let before = null;
  onFrame(({ state: { mapping } }) => {
    const words = mapping.applying ? "Being applied …" : mapping.built_in ? "The built-in mapping" : `A mapping file, rules ${mapping.applied}`;
    tell(inForce, words, `tag ${mapping.applying ? "open" : mapping.built_in ? "none" : "good"}`);
    inUse = mapping.applying;
    enable();
    const now = `${mapping.built_in} ${mapping.applied}`;
    if (before !== null && before !== now) check(); // somebody else may have applied another text
    before = now;
  });

  // Files

  parts.download.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([area.value], { type: "application/toml" }));
    el("a", { href: address, download: "mapping.toml" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  parts.upload.addEventListener("click", () => parts.file.click());
  parts.file.addEventListener("change", async () => {
    const [file] = parts.file.files;
    parts.file.value = "";
    if (!file) return;
    if (file.size > LARGEST) {
      say(`${file.name} is larger than 256 KiB, which is the most that a mapping file may have.`, "bad");
      return;
    }
    try {
      replace(new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer()).replaceAll("\r\n", "\n"));
    } catch {
      say(`${file.name} is no text in UTF-8.`, "bad");
    }
  });

  (async () => {
    try {
      const [{ applied, examples }, { customers }] = await Promise.all([get("mapping/texts"), get("mapping/customers")]);
      chosen = customers.map((one) => one.id);
      fill(parts.examples, examples.map((one) => el("button", { type: "button", onclick: () => replace(one.text) }, one.title)));
      if (!area.value) area.value = applied ?? examples[0].text;
      drawGutter();
      await check();
    } catch (error) {
      say(error.message, "bad");
    }
  })();
  return { goTo };
}

/** Tab indents; Escape, then Tab, leaves the editor, and so does Shift+Tab. */
function setUpTab(area, replace) {
  let leaving = false;
  area.addEventListener("keydown", (event) => {
    if (event.key === "Tab" && !event.shiftKey && !leaving && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      replace("  ", false);
    }
    leaving = event.key === "Escape";
  });
  area.addEventListener("blur", () => (leaving = false));
}

function build(section) {
  const area = el("textarea", {
    id: "mapping-text", wrap: "off", autocapitalize: "off", autocomplete: "off",
    "aria-describedby": "mapping-help mapping-checked mapping-mistakes", "aria-invalid": "false",
  });
  area.spellcheck = false;
  const parts = {
    area,
    gutter: el("div", { class: "gutter", "aria-hidden": "true" }),
    checked: el("p", { id: "mapping-checked", class: "checked", role: "status" }),
    mistakes: el("div", { id: "mapping-mistakes", class: "mistakes", hidden: true }),
    results: el("div", { id: "mapping-results" }),
    onlyChanges: el("input", { type: "checkbox", id: "mapping-only", checked: true }),
    applyButton: el("button", { type: "button", class: "main", id: "mapping-apply", disabled: true }, "Apply: restart the service with it"),
    builtInButton: el("button", { type: "button", id: "mapping-back", disabled: true }, "Back to the built-in mapping"),
    inForce: el("span", { id: "mapping-in-force", class: "tag none" }, "…"),
    outcome: el("p", { id: "mapping-outcome", class: "outcome", role: "status", hidden: true }),
    download: el("button", { type: "button" }, "Download"),
    upload: el("button", { type: "button" }, "Open a file …"),
    file: el("input", { type: "file", id: "mapping-file", accept: ".toml,text/plain", hidden: true, "aria-label": "A mapping file" }),
    examples: el("div", { class: "row", role: "group", "aria-labelledby": "mapping-examples" }),
    search: el("input", { type: "search", id: "mapping-search", autocomplete: "off" }),
    searchButton: el("button", { type: "submit" }, "Search"),
    anybody: el("button", { type: "button" }, "Others at random"),
    found: el("ul", { class: "found-customers", "aria-label": "Customers that were found" }),
  };
  parts.wrapper = el("div", { class: "editor" }, parts.gutter, area);
  parts.form = el("form", { class: "search", role: "search", "aria-label": "Customers" },
    el("label", { for: "mapping-search" }, "Customer, by e-mail address or id", parts.search), parts.searchButton, parts.anybody);
  section.append(
    el("div", { class: "mapping" },
      el("div", { class: "panel" },
        el("p", { class: "in-force" }, el("strong", {}, "In force:"), parts.inForce),
        el("p", { id: "mapping-examples", class: "muted" }, "Put a text into the editor, in place of what is there (Ctrl+Z undoes it):"),
        parts.examples,
        el("label", { for: "mapping-text" }, "mapping.toml"),
        parts.wrapper,
        parts.checked, parts.mistakes,
        el("p", { id: "mapping-help", class: "help muted" }, "The text is checked while you type. Tab indents; press Escape, then Tab, to leave the editor."),
        el("div", { class: "row" }, parts.applyButton, parts.builtInButton, parts.upload, parts.download, parts.file),
        parts.outcome),
      el("div", { class: "panel" },
        el("h3", {}, "What Segment would get: now, and by this text"),
        parts.form, parts.found,
        el("div", { class: "row only" }, parts.onlyChanges, el("label", { for: "mapping-only" }, "Show the differences alone")),
        parts.results)),
  );
  return parts;
}

function tableOf(title, rows) {
  const row = ({ place, before, after, change }) =>
    el("tr", { class: change ? "differs" : null },
      el("th", { scope: "row" }, place),
      el("td", { class: "value", "data-label": "now" }, before),
      el("td", { class: change ? "value" : "same", "data-label": "by this text" }, change ? after : "the same"),
      el("td", {}, change ? el("span", { class: "tag" }, `≠ ${change}`) : ""));
  return table({}, ["What", "Now", "By this text", "Change"], rows.map(row), { label: `Traits of ${title}`, cards: true });
}

function tell(element, text, kind) {
  setText(element, text);
  if (element.className !== kind) element.className = kind;
}
