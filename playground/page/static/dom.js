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

/** A time of the day, from milliseconds of the Unix epoch. */
export function time(milliseconds) {
  const moment = new Date(milliseconds);
  const two = (number) => String(number).padStart(2, "0");
  return `${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

/** What an empty view shows: what is missing, and what to do first. */
export function empty(text, ...actions) {
  return el("div", { class: "empty" }, el("p", {}, text), ...actions);
}
