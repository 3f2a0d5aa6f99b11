// How many messages ended how, whether the promises hold, and the last two minutes as curves.
import { el, empty, fill } from "./dom.js";
import { onFrame, state } from "./live.js";

const SECONDS = 120;
const MESSAGES = {
  published: "Messages of the shop on the topic.",
  delivered: "Each confirmed by Segment, and then acknowledged.",
  ignored: "Nothing to send, or delivered already in that version.",
  refused: "Unreadable: they are in the dead-letter topic.",
  "given up": "Tried as often as Pub/Sub may, then in the dead-letter topic.",
  retried: "Pushes that failed: Pub/Sub delivered the message again.",
};
const PROMISES = {
  lost: "Customers, or facts about orders, that Segment lacks.",
  doubled: "States or facts that Segment counted again without need.",
  stale: "Customers of whom Segment has what an older version says.",
  wrong: "Customers or orders of whom Segment has something else.",
};

const samples = []; // {at, backlog, published, ended} once a second
let view = null;

/** Keep the curves from the start, also while another view is shown. */
export function listen() {
  setInterval(() => {
    if (!state()) return;
    const { counts, backlog } = state();
    const ended = ["delivered", "ignored", "refused", "given up"].reduce((sum, name) => sum + (counts[name] ?? 0), 0);
    samples.push({ at: performance.now() / 1000, backlog, published: counts.published ?? 0, ended });
    while (samples.length > 1 && samples[0].at < samples.at(-1).at - SECONDS - 1) samples.shift();
    if (view && !view.section.hidden) draw();
  }, 1000);
}

export function mount(section) {
  view = {
    section,
    hint: el("div", { hidden: true }, empty("No message was published yet. Move the slider at the top, or change something in the Shop.")),
    rules: el("p", { class: "notice-rules", id: "counts-rules", hidden: true }),
    judged: el("p", { class: "muted", id: "counts-judged" }),
    breaches: el("ul", { class: "counts-breaches", id: "counts-breaches" }),
    backlog: chart("counts-backlog", "Backlog: messages that are open", [["open", "open"]]),
    rates: chart("counts-rates", "Messages a second", [["published", "published"], ["ended", "ended"]]),
    tiles: {},
  };
  section.append(
    view.hint,
    el("h3", {}, "Messages"),
    tiles(MESSAGES),
    el("h3", {}, "Promises"),
    view.rules,
    tiles(PROMISES),
    view.judged,
    view.breaches,
    el("div", { class: "columns counts-curves" }, view.backlog.figure, view.rates.figure),
  );
  onFrame(({ state: now }) => {
    if (!section.hidden) update(now);
  });
}

export function shown() {
  if (state()) update(state());
  draw();
}

// Tiles

function tiles(meanings) {
  const all = Object.entries(meanings).map(([name, meaning]) => {
    const tile = (view.tiles[name] = el("dd", { class: "counts-number" }, "0"));
    const id = `counts-${name.replace(" ", "-")}`;
    return el("div", { class: "panel counts-tile", id }, el("dt", {}, name), tile, el("dd", { class: "muted" }, meaning));
  });
  return el("dl", { class: "counts-tiles" }, ...all);
}

function update(now) {
  view.hint.hidden = Boolean(now.counts.published);
  for (const name of Object.keys(MESSAGES)) text(view.tiles[name], (now.counts[name] ?? 0).toLocaleString("en"));
  for (const name of Object.keys(PROMISES)) {
    const count = now.judge[name] ?? 0;
    text(view.tiles[name], count.toLocaleString("en"));
    view.tiles[name].parentElement.classList.toggle("broken", count > 0);
  }
  updateWords(now.judge);
  const all = Object.keys(PROMISES).reduce((sum, name) => sum + (now.judge[name] ?? 0), 0);
  updateBreaches(now.judge.examples ?? [], all);
}

function updateWords(judge) {
  const { judged = 0, ever = 0, set_aside: aside = 0, traits_judged: areJudged = true, by_other_rules: others = 0 } = judge;
  const words = [
    judged
      ? `The judge has looked at ${judged.toLocaleString("en")} customers and orders, each again after every change.`
      : "The judge looks at a customer or an order as soon as no message about it is open.",
    ever ? `Breaches so far, also those that have healed: ${ever}.` : "No promise was ever broken.",
    aside && `${aside} lack something because a message of theirs is a dead letter: they do not count as lost.`,
  ];
  text(view.judged, words.filter(Boolean).join(" "));
  const customers = others === 1 ? "1 customer was" : `${others.toLocaleString("en")} customers were`;
  view.rules.hidden = areJudged && !others;
  text(
    view.rules,
    areJudged
      ? `${customers} told by another mapping file: their traits are not judged. Doubled events are.`
      : "Another mapping file than the built-in one is used: traits, and profiles that are missing, are not judged. " +
          "Doubled events, deleted customers and the amounts of orders are.",
  );
}

let listed = "";

function updateBreaches(examples, all) {
  const mark = JSON.stringify([examples, all]);
  if (mark === listed) return;
  listed = mark;
  fill(
    view.breaches,
    ...examples.map((one) =>
      el(
        "li",
        {},
        el("span", { class: "tag bad" }, one.kind),
        el("span", {}, one.what),
        el("a", { href: `#shop/${one.type}/${encodeURIComponent(one.id)}` }, `Show the ${one.type} in the shop`),
        one.type === "customer" && el("a", { href: `#segment/user/${encodeURIComponent(one.id)}` }, "Show the profile"),
      ),
    ),
    all > examples.length && el("li", { class: "muted" }, `These are the newest ${examples.length} of ${all}.`),
  );
}

// Curves

const WIDTH = 600;
const HEIGHT = 140;

function svg(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function chart(id, title, lines) {
  const paths = lines.map(([name]) => svg("path", { class: `counts-line ${name}`, "vector-effect": "non-scaling-stroke" }));
  const grid = [0, 0.5, 1].map((share) => {
    const y = HEIGHT * share;
    return svg("path", { class: "counts-grid", d: `M0 ${y}H${WIDTH}`, "vector-effect": "non-scaling-stroke" });
  });
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-labelledby": `${id}-title ${id}-words` },
    ...grid,
    ...paths,
  );
  const [top, words] = [el("span", { class: "counts-top" }, "1"), el("p", { class: "muted", id: `${id}-words` })];
  const legend = lines.map(([name, word]) => el("span", { class: "counts-key" }, el("i", { class: name }), word));
  const figure = el(
    "figure",
    { class: "panel counts-chart", id },
    el("figcaption", { class: "row" }, el("strong", { id: `${id}-title` }, title), lines.length > 1 && legend),
    el("div", { class: "counts-plot" }, el("div", { class: "counts-scale", "aria-hidden": "true" }, top, el("span", {}, "0")), picture),
    el("div", { class: "counts-axis muted", "aria-hidden": "true" }, el("span", {}, "2 minutes ago"), el("span", {}, "now")),
    words,
  );
  return { figure, paths, top, words };
}

function draw() {
  const backlog = samples.map(({ at, backlog: value }) => ({ at, value }));
  plot(view.backlog, [backlog]);
  text(view.backlog.words, `Now ${inWords(backlog.at(-1)?.value)}; at the most ${inWords(most(backlog))}.`);
  const [published, ended] = [rates("published"), rates("ended")];
  plot(view.rates, [published, ended]);
  text(
    view.rates.words,
    `Now ${inWords(published.at(-1)?.value)} published and ${inWords(ended.at(-1)?.value)} ended a second; ` +
      `at the most ${inWords(most(published))} and ${inWords(most(ended))}.`,
  );
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
  text(top, highest.toLocaleString("en"));
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

function text(element, words) {
  if (element.textContent !== words) element.textContent = words;
}
