// Elements, and the few things that all views show in the same way.

/** Make an element: properties are set as such, `class`, `for`, `role`, `data-…` and `aria-…` as attributes. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (/^(class|for|role|list|data-.*|aria-.*)$/.test(key)) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace what is inside of an element. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Tell the user what was done, or what failed: seen, and read aloud by a screen reader. */
export function say(text, kind = "info") {
  const line = el("p", { class: `notice ${kind}` }, text);
  document.getElementById("said").replaceChildren(line);
  setTimeout(() => line.remove(), kind === "bad" ? 12000 : 5000);
}

/** Run an action of a button; it is disabled meanwhile, and an error is shown. */
export async function doing(button, action) {
  const hadFocus = document.activeElement === button; // which disabling takes away
  button.disabled = true;
  try {
    return await action();
  } catch (error) {
    say(error.message, "bad");
    return undefined;
  } finally {
    button.disabled = false;
    if (hadFocus && document.activeElement === document.body) button.focus();
  }
}

/** A button; it is disabled while its action runs, and an error is shown. */
export function button(words, action, properties = {}) {
  const made = el("button", { type: "button", ...properties, onclick: () => doing(made, action) }, words);
  return made;
}

/** A value of JSON, indented and coloured. */
export function json(value, label = "JSON") {
  const pre = el("pre", { class: "json", tabIndex: 0, role: "region", "aria-label": label });
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const token = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
  let end = 0;
  for (const match of text.matchAll(token)) {
    pre.append(text.slice(end, match.index));
    const kind = match[2] ? "key" : match[1] ? "text" : match[3] ? "word" : "number";
    pre.append(el("span", { class: kind }, match[1] ?? match[0]), match[2] ?? "");
    end = match.index + match[0].length;
  }
  pre.append(text.slice(end));
  return pre;
}

/** A time of the day, from milliseconds of the Unix epoch or a text of ISO 8601. */
export function time(moment) {
  const at = new Date(moment);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** A number and its noun, such as "1 event" and "1,000 events". */
export function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** The part of an id by which people tell one from another. */
export function short(id) {
  return id.slice(0, 8);
}

/** Set a text only where it differs, so that a selection stays and a screen reader does not read it again. */
export function setText(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

/** Mark a link as the current "page" of its list, or as any other current one ("true"); `false` takes that away. */
export function setCurrent(link, current) {
  if (current) link.setAttribute("aria-current", current);
  else link.removeAttribute("aria-current");
}

/**
 * A table that scrolls by itself where it is too wide. A head is its text, or [text, class]; the body is rows, or a tbody.
 * With a `label` the box that scrolls has this name, and the keyboard reaches it. `cards`: a narrow window shows each row
 * as a block, each cell after its data-label.
 */
export function table(properties, heads, body, { caption, foot, label, cards } = {}) {
  const cells = heads.map((head) => {
    const [inside, kind] = [head].flat();
    return el("th", { scope: "col", class: kind }, inside);
  });
  const region = label && { tabIndex: 0, role: "region", "aria-label": label };
  const inside = el("table", properties, caption, el("thead", {}, el("tr", {}, cells)), Array.isArray(body) ? el("tbody", {}, body) : body, foot);
  return el("div", { class: cards ? "scroll cards" : "scroll", ...region }, inside);
}

/** A list of names and values. */
export function facts(pairs) {
  return el("dl", { class: "facts" }, pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

/** Whether somebody points at a list, or at the area around it, or has the focus there: its rows must not move then. */
export function isInUse(list, area = list) {
  const hasRows = [...list.children].some((child) => child.key !== undefined);
  return hasRows && (area.matches(":hover") || area.contains(document.activeElement));
}

/** Bring the children of an element up to date with items, by their keys; what is there already keeps its element. */
export function keyed(parent, items, keyOf, make, update = () => {}) {
  const before = new Map([...parent.children].map((child) => [child.key, child]));
  const kept = new Set(items.map(keyOf));
  for (const child of [...parent.children]) if (!kept.has(child.key)) child.remove();
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const element = before.get(key) ?? make(item);
    element.key = key;
    update(element, item);
    if (element === place) place = place.nextElementSibling;
    else parent.insertBefore(element, place);
  }
}

/** What an empty view shows: what is missing, and what to do first. */
export function empty(text, ...actions) {
  return el("div", { class: "empty" }, el("p", {}, text), ...actions);
}
