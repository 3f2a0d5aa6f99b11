// Trouble: switches for each party, the service's instances, the backlog, and the dead letters.
import { post } from "./api.js";
import { backlogCurve } from "./curves.js";
import * as deadLetters from "./dead_letters.js";
import { button, el, say, setText, table } from "./dom.js";
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

let parts = null;

/** Send a change; what the server answers is shown at once. */
async function change(path, given) {
  try {
    apply(await post(`trouble/${path}`, given));
  } catch (error) {
    say(error.message, "bad");
    if (state()) apply(state().trouble, true);
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
  const panel = { rows: [] };
  panel.body = el("tbody");
  panel.add = button("Add an instance", () => change("instances"), { id: "add-instance" });
  panel.remove = button("Remove the newest", () => change("instances/remove"), { id: "remove-instance" });
  panel.element = el("div", { class: "panel", id: "instances" }, el("h3", {}, "The service"),
    table({}, ["No.", "State", "Process", "Actions"], panel.body, { caption: el("caption", { class: "muted" }, "Instances behind one address") }),
    el("div", { class: "row under" }, panel.add, panel.remove),
    el("p", { class: "muted" }, "Kill ends it as when its machine fails. Restart sends SIGTERM, as Cloud Run does, and starts it again."));
  return panel;
}

function instanceRow(number) {
  const row = { tag: el("span", { class: "tag" }), pid: el("span"), buttons: {} };
  const action = (what, words, kind) => {
    const made = el("button", { type: "button", class: kind, "aria-label": `${words} instance ${number + 1}`, onclick: () => {
      if (made.getAttribute("aria-disabled") !== "true") change(`instances/${number}/${what}`);
    } }, words);
    row.buttons[what] = made;
    return made;
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
    setText(row.tag, instance.state);
    row.tag.className = `tag ${instance.state === "running" ? "good" : instance.state === "stopped" ? "bad" : "open"}`;
    setText(row.pid, instance.pid ? String(instance.pid) : "–");
    for (const [what, made] of Object.entries(row.buttons)) {
      const can = what === "start" ? instance.state === "stopped" : what === "restart" ? ["running", "stopped"].includes(instance.state) : instance.state === "running";
      made.setAttribute("aria-disabled", String(!can)); // not `disabled`, which would lose the focus
    }
  });
  panel.add.hidden = instances.length >= trouble.most_instances;
  panel.remove.hidden = instances.length <= 1;
}

// All of it

function apply(trouble, force = false) {
  for (const [name, panel] of Object.entries(parts.parties)) applyParty(panel, trouble.parties[name], force);
  applyPubsub(parts.pubsub, trouble.pubsub, trouble.trouble.includes("pubsub"), force);
  applyService(parts.service, trouble);
  const names = trouble.trouble.map((name) => ({ ...PARTIES, pubsub: "Pub/Sub", service: "the service" })[name]);
  const words = names.length ? `In trouble: ${names.join(", ")}.` : "Nothing is in trouble. Choose a fault below, and watch what becomes of the messages.";
  setText(parts.summary, words);
  parts.summary.className = names.length ? "summary bad" : "summary";
  deadLetters.count(trouble.dead_letters);
}

export function mount(section) {
  const heal = button("Everything works again", () => change("heal"), { class: "main", id: "heal" });
  parts = {
    summary: el("p", { id: "trouble-summary", role: "status", class: "summary" }, "Connecting …"),
    parties: Object.fromEntries(Object.keys(PARTIES).map((name) => [name, partyPanel(name)])),
    pubsub: pubsubPanel(),
    service: servicePanel(),
  };
  section.append(
    el("div", { class: "row head" }, heal, parts.summary),
    el("div", { class: "parties" }, Object.values(parts.parties).map((panel) => panel.element), parts.pubsub.element),
    el("div", { class: "columns" }, parts.service.element, backlogCurve("backlog")),
    deadLetters.lettersPanel(),
  );
  onFrame(({ state: now }) => apply(now.trouble));
  setInterval(() => section.checkVisibility() && deadLetters.reloadIfChanged(), 1000);
}

export function shown() {
  deadLetters.load();
}
