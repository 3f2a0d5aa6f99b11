// Trouble: switches for each party, the service's instances, the backlog, and the dead letters.
import { get, post } from "./api.js";
import { backlogCurve } from "./curves.js";
import { doing, el, empty, fill, json, say } from "./dom.js";
import { onFrame, state } from "./live.js";

const PARTIES = { segment: "Segment", commercetools: "commercetools", publicApi: "Segment's Public API" };
const FAULTS = [
  ["works", "Works"],
  ["down", "Down: connections are reset"],
  ["429", "429: too many requests"],
  ["500", "500: an error of its own"],
  ["slow", "Slow"],
  ["hanging", "Hanging: it never answers"],
  ["lost", "Lost answers: it acts, and closes the connection"],
];
const SECONDS = { 429: ["Retry-After", 600], slow: ["Latency", 60] };
const SHOWN = 200; // dead letters; where there are more, the list is read again only when it is asked for

let shownNow = false;
let parts = null;

/** Send a change; what the server answers is shown at once. */
async function change(path, given) {
  try {
    apply(await post(`trouble/${path}`, given));
    return true;
  } catch (error) {
    say(error.message, "bad");
    if (state()) apply(state().trouble, true);
    return false;
  }
}

// The parties

function partyPanel(name) {
  const choose = (fault) => {
    const seconds = panel.seconds[fault];
    change(`parties/${name}`, { fault, ...(seconds ? { seconds: Number(seconds.value) } : {}) });
  };
  const panel = { radios: {}, seconds: {}, known: null };
  const rows = FAULTS.map(([fault, words]) => {
    const radio = el("input", { type: "radio", name: `fault-${name}`, value: fault, id: `fault-${name}-${fault}`, onchange: () => choose(fault) });
    panel.radios[fault] = radio;
    const row = el("div", { class: "choice" }, radio, el("label", { for: radio.id }, words));
    if (fault in SECONDS) {
      const [label, most] = SECONDS[fault];
      const number = el("input", {
        type: "number", min: "0", max: String(most), step: fault === "slow" ? "0.1" : "1", value: "2",
        id: `seconds-${name}-${fault}`,
        onchange: () => radio.checked && choose(fault),
      });
      panel.seconds[fault] = number;
      row.append(el("span", { class: "seconds" }, el("label", { for: number.id }, label), number, " s"));
    }
    return row;
  });
  panel.tag = el("span", { class: "tag good" }, "works");
  panel.element = el("fieldset", { class: "panel party", id: `party-${name}` }, el("legend", {}, PARTIES[name], " ", panel.tag), rows);
  if (name === "commercetools") {
    panel.lag = el("select", { id: "lag", onchange: () => change(`parties/${name}`, { lag: Number(panel.lag.value) }) },
      [0, 1, 2, 3].map((lag) => el("option", { value: String(lag) }, lag ? `${lag} version${lag > 1 ? "s" : ""} behind` : "up to date")));
    panel.element.append(el("div", { class: "row" }, el("label", { for: "lag" }, "Queries are"), panel.lag));
  }
  return panel;
}

function applyParty(panel, party, force) {
  const now = JSON.stringify(party);
  if (now === panel.known && !force) return; // so that what is typed stays
  panel.known = now;
  panel.radios[party.fault].checked = true;
  if (panel.seconds[party.fault] && document.activeElement !== panel.seconds[party.fault]) panel.seconds[party.fault].value = party.seconds;
  if (panel.lag) panel.lag.value = String(party.lag);
  const well = party.fault === "works" && !party.lag;
  panel.tag.textContent = well ? "works" : "in trouble";
  panel.tag.className = `tag ${well ? "good" : "bad"}`;
}

// Pub/Sub

function pubsubPanel() {
  const panel = { inputs: {}, known: null };
  const field = (name, label, hint, least, most, share) => {
    const input = el("input", {
      type: "number", min: String(least), max: String(most), step: "1", id: `pubsub-${name}`, "aria-describedby": `pubsub-${name}-hint`,
      onchange: () => change("pubsub", { [name]: share ? Number(input.value) / 100 : Number(input.value) }),
    });
    panel.inputs[name] = [input, share];
    return el("div", { class: "field" }, el("label", { for: input.id }, label), input, el("p", { class: "muted", id: `pubsub-${name}-hint` }, hint));
  };
  panel.tag = el("span", { class: "tag good" }, "works");
  panel.element = el("fieldset", { class: "panel party", id: "party-pubsub" }, el("legend", {}, "Pub/Sub ", panel.tag),
    field("duplicate", "Duplicates, %", "So many messages are delivered once more.", 0, 100, true),
    field("reorder", "Held back, %", "So many messages come late, after newer ones.", 0, 100, true),
    field("attempts", "Attempts", "After so many, 5 to 100, a message becomes a dead letter.", 5, 100, false));
  return panel;
}

function applyPubsub(panel, pubsub, inTrouble, force) {
  const now = JSON.stringify(pubsub);
  if (now === panel.known && !force) return;
  panel.known = now;
  for (const [name, [input, share]] of Object.entries(panel.inputs)) input.value = String(share ? Math.round(pubsub[name] * 100) : pubsub[name]);
  panel.tag.textContent = inTrouble ? "in trouble" : "works";
  panel.tag.className = `tag ${inTrouble ? "bad" : "good"}`;
}

// The service

function servicePanel() {
  const panel = { rows: [], known: null };
  panel.body = el("tbody");
  panel.add = el("button", { type: "button", id: "add-instance", onclick: () => doing(panel.add, () => change("instances")).then(updateCounts) }, "Add an instance");
  panel.remove = el("button", { type: "button", id: "remove-instance", onclick: () => doing(panel.remove, () => change("instances/remove")).then(updateCounts) }, "Remove the newest");
  panel.element = el("div", { class: "panel", id: "instances" }, el("h3", {}, "The service"),
    el("div", { class: "scroll" }, el("table", {}, el("caption", { class: "muted" }, "Instances behind one address"),
      el("thead", {}, el("tr", {}, ["No.", "State", "Process", "Actions"].map((title) => el("th", { scope: "col" }, title)))), panel.body)),
    el("div", { class: "row under" }, panel.add, panel.remove),
    el("p", { class: "muted" }, "Kill ends it as when its machine fails. Restart sends SIGTERM, as Cloud Run does, and starts it again."));
  return panel;
}

function updateCounts() {
  if (state()) applyService(parts.service, state().trouble);
}

function instanceRow(number) {
  const row = { tag: el("span", { class: "tag" }), pid: el("span"), buttons: {} };
  const action = (what, words, kind) => {
    const button = el("button", { type: "button", class: kind, "aria-label": `${words} instance ${number + 1}`, onclick: () => {
      if (button.getAttribute("aria-disabled") !== "true") change(`instances/${number}/${what}`);
    } }, words);
    row.buttons[what] = button;
    return button;
  };
  row.element = el("tr", {}, el("th", { scope: "row" }, String(number + 1)), el("td", {}, row.tag), el("td", {}, row.pid),
    el("td", {}, el("div", { class: "row" }, action("kill", "Kill", "danger"), action("restart", "Restart"), action("stop", "Stop"), action("start", "Start"))));
  return row;
}

function applyService(panel, trouble) {
  const { instances } = trouble;
  while (panel.rows.length < instances.length) {
    const row = instanceRow(panel.rows.length);
    panel.rows.push(row);
    panel.body.append(row.element);
  }
  while (panel.rows.length > instances.length) panel.rows.pop().element.remove();
  instances.forEach((instance, number) => {
    const row = panel.rows[number];
    if (row.tag.textContent !== instance.state) row.tag.textContent = instance.state;
    row.tag.className = `tag ${instance.state === "running" ? "good" : instance.state === "stopped" ? "bad" : "open"}`;
    const pid = instance.pid ? String(instance.pid) : "–";
    if (row.pid.textContent !== pid) row.pid.textContent = pid;
    for (const [what, button] of Object.entries(row.buttons)) {
      const can = what === "start" ? instance.state === "stopped" : what === "restart" ? ["running", "stopped"].includes(instance.state) : instance.state === "running";
      button.setAttribute("aria-disabled", String(!can)); // not `disabled`, which would lose the focus
    }
  });
  panel.add.hidden = instances.length >= trouble.most_instances;
  panel.remove.hidden = instances.length <= 1;
}

// Dead letters

function lettersPanel() {
  const panel = { letters: [], chosen: new Set(), number: null, loading: false, known: "" };
  const act = (button, what) => doing(button, () => settleLetters(panel, what));
  panel.all = el("input", { type: "checkbox", id: "all-letters", "aria-label": "Choose all dead letters shown", onchange: () => choose(panel, panel.all.checked ? panel.letters.map((one) => one.message_id) : []) });
  panel.replay = el("button", { type: "button", class: "main", id: "replay", onclick: () => act(panel.replay, "replay") }, "Replay");
  panel.drop = el("button", { type: "button", class: "danger", id: "drop", onclick: () => confirmDrop(panel) }, "Drop …");
  panel.publish = el("button", { type: "button", id: "publish-garbage", onclick: () => doing(panel.publish, async () => {
    const { reason } = await post("trouble/garbage");
    say(`Published. The service will set it aside: ${reason}.`);
  }) }, "Publish something unreadable");
  panel.refresh = el("button", { type: "button", id: "refresh-letters", onclick: () => doing(panel.refresh, () => load(panel)) }, "Look again");
  panel.body = el("tbody");
  panel.table = el("div", { class: "scroll" }, el("table", { id: "dead-letters", "aria-label": "Dead letters" },
    el("thead", {}, el("tr", {}, el("th", { scope: "col" }, panel.all), ["Reason", "Kind", "Resource", "When", "Attempts", ""].map((title) =>
      el("th", { scope: "col", class: title === "Attempts" ? "number" : "" }, title || el("span", { class: "unseen" }, "Look")))) ), panel.body));
  panel.more = el("p", { class: "muted" });
  panel.none = empty("There are no dead letters. Publish something that nobody can read, and see what becomes of it.");
  panel.tag = el("span", { class: "tag none" }, "0");
  panel.element = el("div", { class: "panel", id: "letters" }, el("h3", {}, "Dead letters ", panel.tag),
    el("div", { class: "row" }, panel.replay, panel.drop, panel.refresh, panel.publish), panel.table, panel.more, panel.none);
  panel.confirm = el("dialog", { "aria-labelledby": "drop-title" });
  panel.look = el("dialog", { "aria-labelledby": "letter-title" });
  panel.element.append(panel.confirm, panel.look);
  choose(panel, []);
  return panel;
}

function choose(panel, ids) {
  panel.chosen = new Set(ids);
  for (const box of panel.body.querySelectorAll("input")) box.checked = panel.chosen.has(box.value);
  told(panel);
}

function told(panel) {
  const number = panel.chosen.size;
  panel.replay.textContent = number ? `Replay ${number} chosen` : "Replay all";
  panel.drop.textContent = number ? `Drop ${number} chosen …` : "Drop all …";
  panel.all.checked = number > 0 && number === panel.letters.length;
  panel.all.indeterminate = number > 0 && number < panel.letters.length;
}

async function load(panel) {
  if (panel.loading) return;
  panel.loading = true;
  try {
    const answer = await get("trouble/letters");
    panel.letters = answer.letters;
    panel.known = answer.number; // another number in a frame makes it load again
    const rows = new Map([...panel.body.children].map((row) => [row.dataset.id, row]));
    const wanted = answer.letters.map((letter) => rows.get(letter.message_id) ?? letterRow(panel, letter));
    for (const row of [...panel.body.children]) if (!wanted.includes(row)) row.remove();
    wanted.forEach((row, place) => panel.body.children[place] !== row && panel.body.insertBefore(row, panel.body.children[place] ?? null));
    choose(panel, [...panel.chosen].filter((id) => answer.letters.some((one) => one.message_id === id)));
    const some = answer.letters.length > 0;
    panel.table.hidden = panel.replay.hidden = panel.drop.hidden = panel.refresh.hidden = !some;
    panel.none.hidden = some;
    const rest = answer.number - answer.letters.length;
    panel.more.textContent = rest > 0 ? `And ${rest.toLocaleString("en")} more, which are not shown.` : "";
  } catch (error) {
    say(error.message, "bad");
  } finally {
    panel.loading = false;
  }
}

function letterRow(panel, letter) {
  const box = el("input", { type: "checkbox", value: letter.message_id, "aria-label": `Choose dead letter ${letter.message_id}`, onchange: () => {
    if (box.checked) panel.chosen.add(box.value);
    else panel.chosen.delete(box.value);
    told(panel);
  } });
  const about = letter.resource_id ? el("a", { href: `#messages/resource/${letter.resource_id}` }, `${letter.resource_type} ${letter.resource_id.slice(0, 8)}`) : "–";
  const look = el("button", { type: "button", "aria-label": `Look at dead letter ${letter.message_id}`, onclick: () => doing(look, () => lookAt(panel, letter.message_id)) }, "Look");
  return el("tr", { "data-id": letter.message_id }, el("td", {}, box), el("td", { class: "reason" }, letter.reason), el("td", {}, letter.kind), el("td", {}, about),
    el("td", {}, new Date(letter.published).toLocaleTimeString("en-GB")), el("td", { class: "number" }, letter.attempts === null ? "–" : String(letter.attempts)), el("td", {}, look));
}

async function settleLetters(panel, what) {
  const ids = panel.chosen.size ? [...panel.chosen] : "all";
  const answer = await post(`trouble/letters/${what}`, { ids });
  const number = answer.replayed ?? answer.dropped;
  say([`${number} of ${answer.found} ${what === "replay" ? "replayed" : "dropped"}.`, answer.remarks].filter(Boolean).join(" "), answer.remarks ? "bad" : "info");
  panel.chosen.clear();
  await load(panel);
}

function confirmDrop(panel) {
  const number = panel.chosen.size || panel.number;
  const drop = el("button", { type: "button", class: "danger", id: "confirm-drop", onclick: () => {
    panel.confirm.close();
    doing(panel.drop, () => settleLetters(panel, "drop"));
  } }, "Drop");
  fill(panel.confirm, el("h3", { id: "drop-title" }, `Drop ${number} dead letter${number === 1 ? "" : "s"}?`),
    el("p", {}, "They are deleted and cannot be replayed any more. What they told does not reach Segment by them."),
    el("div", { class: "row" }, drop, el("button", { type: "button", autofocus: true, onclick: () => panel.confirm.close() }, "Keep")));
  panel.confirm.showModal();
}

async function lookAt(panel, id) {
  const { letter, explained } = await get(`trouble/letters/${id}`);
  const facts = [["Reason", letter.reason], ["Kind", letter.kind], ["Attempts", letter.attempts], ["Message", letter.message_id], ["Was message", letter.source_message_id], ["Size", `${letter.bytes} bytes`]];
  let data = letter.data;
  try {
    data = JSON.parse(letter.data);
  } catch { /* it is shown as it is */ }
  const would = explained.reason ? `${explained.outcome}: ${explained.reason}` : explained.outcome;
  fill(panel.look, el("h3", { id: "letter-title" }, `Dead letter ${id}`),
    el("dl", { class: "facts" }, facts.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) => [el("dt", {}, name), el("dd", {}, String(value))]).flat()),
    el("h3", {}, "Data"), json(data, "Data of the dead letter"),
    el("h3", {}, "What explain says"), el("p", {}, "A replay would be ", el("strong", {}, would), explained.outcome === "unknown" ? ", because the service would read the resource then." : "."),
    explained.notes.map((note) => el("p", { class: "muted" }, note)), json(explained, "What explain says"),
    el("div", { class: "row under" }, el("button", { type: "button", autofocus: true, onclick: () => panel.look.close() }, "Close")));
  panel.look.showModal();
}

// All of it

function apply(trouble, force = false) {
  if (!parts) return;
  for (const [name, panel] of Object.entries(parts.parties)) applyParty(panel, trouble.parties[name], force);
  applyPubsub(parts.pubsub, trouble.pubsub, trouble.trouble.includes("pubsub"), force);
  applyService(parts.service, trouble);
  const names = trouble.trouble.map((name) => ({ ...PARTIES, pubsub: "Pub/Sub", service: "the service" })[name]);
  const words = names.length ? `In trouble: ${names.join(", ")}.` : "Nothing is in trouble. Choose a fault below, and watch what becomes of the messages.";
  if (parts.summary.textContent !== words) parts.summary.textContent = words;
  parts.summary.className = names.length ? "summary bad" : "summary";
  const { letters } = parts;
  letters.number = trouble.dead_letters;
  const shown = trouble.dead_letters.toLocaleString("en");
  if (letters.tag.textContent !== shown) letters.tag.textContent = shown;
  letters.tag.className = `tag ${trouble.dead_letters ? "bad" : "none"}`;
}

function everySecond() {
  if (!shownNow || !parts.root.checkVisibility()) return;
  const { letters } = parts;
  const changed = letters.number !== null && letters.number !== letters.known;
  if (changed && (letters.number <= SHOWN || !letters.letters.length)) load(letters);
}

export function mount(section) {
  const heal = el("button", { type: "button", class: "main", id: "heal", onclick: () => doing(heal, () => change("heal")) }, "Everything works again");
  parts = {
    root: section,
    summary: el("p", { id: "trouble-summary", role: "status", class: "summary" }, "Connecting …"),
    parties: Object.fromEntries(Object.keys(PARTIES).map((name) => [name, partyPanel(name)])),
    pubsub: pubsubPanel(),
    service: servicePanel(),
    letters: lettersPanel(),
  };
  section.append(
    el("div", { class: "row head" }, heal, parts.summary),
    el("div", { class: "parties" }, Object.values(parts.parties).map((panel) => panel.element), parts.pubsub.element),
    el("div", { class: "columns" }, parts.service.element, backlogCurve("backlog")),
    parts.letters.element,
  );
  onFrame(({ state: now }) => apply(now.trouble));
  setInterval(everySecond, 1000);
}

export function shown() {
  shownNow = true;
  load(parts.letters);
}
