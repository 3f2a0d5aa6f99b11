// How many messages ended how, whether the promises hold, and curves.
import { backlogCurve, ratesCurve } from "./curves.js";
import { el, empty, fill, setText } from "./dom.js";
import { onFrame, state } from "./live.js";

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

let view = null;

export function mount(section) {
  view = {
    section,
    hint: el("div", { hidden: true }, empty("No message was published yet. Move the slider at the top, or change something in the Shop.")),
    rules: el("p", { class: "notice-rules", id: "counts-rules", hidden: true }),
    judged: el("p", { class: "muted", id: "counts-judged" }),
    breaches: el("ul", { class: "counts-breaches", id: "counts-breaches" }),
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
    el("div", { class: "columns counts-curves" }, backlogCurve("counts-backlog"), ratesCurve("counts-rates")),
  );
  onFrame(({ state: now }) => {
    if (!section.hidden) update(now);
  });
}

export function shown() {
  if (state()) update(state());
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
  for (const name of Object.keys(MESSAGES)) setText(view.tiles[name], (now.counts[name] ?? 0).toLocaleString("en"));
  for (const name of Object.keys(PROMISES)) {
    const count = now.judge[name];
    setText(view.tiles[name], count.toLocaleString("en"));
    view.tiles[name].parentElement.classList.toggle("broken", count > 0);
  }
  updateWords(now.judge);
  const all = Object.keys(PROMISES).reduce((sum, name) => sum + now.judge[name], 0);
  updateBreaches(now.judge.examples, all);
}

function updateWords(judge) {
  const { judged, ever, set_aside: aside, traits_judged: areJudged, by_other_rules: others } = judge;
  const words = [
    judged
      ? `The judge has looked at ${judged.toLocaleString("en")} customers and orders, each again after every change.`
      : "The judge looks at a customer or an order as soon as no message about it is open.",
    ever ? `Breaches so far, also those that have healed: ${ever}.` : "No promise was ever broken.",
    aside && `${aside} lack something because a message of theirs is a dead letter: they do not count as lost.`,
  ];
  setText(view.judged, words.filter(Boolean).join(" "));
  const customers = others === 1 ? "1 customer was" : `${others.toLocaleString("en")} customers were`;
  view.rules.hidden = areJudged && !others;
  setText(
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
