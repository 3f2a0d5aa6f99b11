// What happened in the last two minutes as curves, kept from the start, also while no view shows them.
import { el, setText } from "./dom.js";
import { state } from "./live.js";

const SECONDS = 120;
const WIDTH = 600;
const HEIGHT = 140;
const ENDINGS = ["delivered", "ignored", "refused", "given up"];

const samples = []; // {at, backlog, published, ended} once a second
const shown = []; // what draws each curve

export function listen() {
  setInterval(() => {
    if (!state()) return;
    const { counts, backlog } = state();
    const ended = ENDINGS.reduce((sum, name) => sum + (counts[name] ?? 0), 0);
    samples.push({ at: performance.now() / 1000, backlog, published: counts.published ?? 0, ended });
    while (samples.length > 1 && samples[0].at < samples.at(-1).at - SECONDS - 1) samples.shift();
    for (const draw of shown) draw();
  }, 1000);
}

/** The messages that are open. */
export function backlogCurve(id) {
  return curve(id, "Backlog: messages that are open", [["open", "open"]], () => {
    const line = samples.map(({ at, backlog: value }) => ({ at, value }));
    return [[line], `Now ${inWords(line.at(-1)?.value)}; at the most ${inWords(most(line))}.`];
  });
}

/** The messages a second that were published, and that ended. */
export function ratesCurve(id) {
  return curve(id, "Messages a second", [["published", "published"], ["ended", "ended"]], () => {
    const [published, ended] = [rates("published"), rates("ended")];
    const words =
      `Now ${inWords(published.at(-1)?.value)} published and ${inWords(ended.at(-1)?.value)} ended a second; ` +
      `at the most ${inWords(most(published))} and ${inWords(most(ended))}.`;
    return [[published, ended], words];
  });
}

function curve(id, title, lines, values) {
  const parts = chart(id, title, lines);
  const draw = () => {
    if (!parts.figure.checkVisibility()) return;
    const [points, words] = values();
    plot(parts, points);
    setText(parts.words, words);
  };
  shown.push(draw);
  queueMicrotask(draw);
  return parts.figure;
}

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function chart(id, title, lines) {
  const paths = lines.map(([name]) => svg("path", { class: `curve-line ${name}`, "vector-effect": "non-scaling-stroke" }));
  const grid = [0, 0.5, 1].map((share) => {
    const y = HEIGHT * share;
    return svg("path", { class: "curve-grid", d: `M0 ${y}H${WIDTH}`, "vector-effect": "non-scaling-stroke" });
  });
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": `${id}-title ${id}-words` },
    ...grid,
    ...paths,
  );
  const [top, words] = [el("span", { class: "curve-top" }, "1"), el("p", { class: "muted", id: `${id}-words` })];
  const legend = lines.map(([name, word]) => el("span", { class: "curve-key" }, el("i", { class: name }), word));
  const figure = el(
    "figure",
    { class: "panel curve", id },
    el("figcaption", { class: "row" }, el("strong", { id: `${id}-title` }, title), lines.length > 1 && legend),
    el("div", { class: "curve-plot" }, el("div", { class: "curve-scale", "aria-hidden": "true" }, top, el("span", {}, "0")), picture),
    el("div", { class: "curve-axis muted", "aria-hidden": "true" }, el("span", {}, "2 minutes ago"), el("span", {}, "now")),
    words,
  );
  return { figure, paths, top, words };
}

/** Over two seconds each, so that a late tick is no peak. */
function rates(name) {
  return samples.slice(1).map((sample, place) => {
    const before = samples[Math.max(0, place - 1)];
    return { at: sample.at, value: (sample[name] - before[name]) / (sample.at - before.at) };
  });
}

function plot({ paths, top }, lines) {
  const highest = round(Math.max(1, ...lines.map(most)));
  const now = samples.at(-1)?.at ?? 0;
  setText(top, highest.toLocaleString("en"));
  const x = (at) => (WIDTH * (1 - Math.min(1, (now - at) / SECONDS))).toFixed(1);
  const y = (value) => (HEIGHT * (1 - Math.max(0, value) / highest)).toFixed(1);
  lines.forEach((line, place) => {
    const points = line.map(({ at, value }) => `${x(at)} ${y(value)}`);
    paths[place].setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
  });
}

function most(line) {
  return line.reduce((highest, { value }) => Math.max(highest, value), 0);
}

/** The next greater of 1, 2, 5, 10, 20 … */
function round(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 5, 10].find((step) => step * power >= value);
}

function inWords(value = 0) {
  return Math.round(Math.max(0, value)).toLocaleString("en");
}
