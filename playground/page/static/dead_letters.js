// The dead letters: to look at, to replay and to drop.
import { get, post } from "./api.js";
import { ask } from "./dialogs.js";
import { button, counted, el, empty, facts, json, keyed, say, setText, short, table, time } from "./dom.js";

const SHOWN = 200; // where there are more, the list is read again only when it is asked for

const panel = { letters: [], chosen: new Set(), number: null, isLoading: false, listed: null };

/** Make the panel. */
export function lettersPanel() {
  panel.all = el("input", { type: "checkbox", id: "all-letters", "aria-label": "Choose all dead letters shown", onchange: () => choose(panel.all.checked ? panel.letters.map((one) => one.message_id) : []) });
  panel.replay = button("Replay", () => settle("replay"), { class: "main", id: "replay" });
  panel.drop = button("Drop …", confirmDrop, { class: "danger", id: "drop" });
  panel.refresh = button("Look again", load, { id: "refresh-letters" });
  const publish = button("Publish something unreadable", async () => {
    const { reason } = await post("trouble/garbage");
    say(`Published. The service will set it aside: ${reason}.`);
  }, { id: "publish-garbage" });
  panel.body = el("tbody");
  const heads = [[panel.all], "Reason", "Kind", "Resource", "When", ["Attempts", "number"], [el("span", { class: "unseen" }, "Look")]];
  panel.table = table({ id: "dead-letters", "aria-label": "Dead letters" }, heads, panel.body);
  panel.more = el("p", { class: "muted" });
  panel.none = empty("There are no dead letters. Publish something that nobody can read, and see what becomes of it.");
  panel.tag = el("span", { class: "tag none" }, "0");
  choose([]);
  return el("div", { class: "panel", id: "letters" }, el("h3", {}, "Dead letters ", panel.tag),
    el("div", { class: "row" }, panel.replay, panel.drop, panel.refresh, publish), panel.table, panel.more, panel.none);
}

/** Tell how many there are. */
export function count(number) {
  panel.number = number;
  setText(panel.tag, number.toLocaleString("en"));
  panel.tag.className = `tag ${number ? "bad" : "none"}`;
}

/** Read the list again if there are more or fewer than it was read with. */
export function reloadIfChanged() {
  const hasChanged = panel.number !== null && panel.number !== panel.listed;
  if (hasChanged && (panel.number <= SHOWN || !panel.letters.length)) load();
}

export async function load() {
  if (panel.isLoading) return;
  panel.isLoading = true;
  try {
    const answer = await get("trouble/letters");
    panel.letters = answer.letters;
    panel.listed = answer.number;
    keyed(panel.body, answer.letters, (one) => one.message_id, letterRow);
    choose([...panel.chosen].filter((id) => answer.letters.some((one) => one.message_id === id)));
    const some = answer.letters.length > 0;
    panel.table.hidden = panel.replay.hidden = panel.drop.hidden = panel.refresh.hidden = !some;
    panel.none.hidden = some;
    const rest = answer.number - answer.letters.length;
    setText(panel.more, rest > 0 ? `And ${rest.toLocaleString("en")} more, which are not shown.` : "");
  } catch (error) {
    say(error.message, "bad");
  } finally {
    panel.isLoading = false;
  }
}

function letterRow(letter) {
  const id = letter.message_id;
  const box = el("input", { type: "checkbox", value: id, "aria-label": `Choose dead letter ${id}`, onchange: () => {
    if (box.checked) panel.chosen.add(id);
    else panel.chosen.delete(id);
    tellChosen();
  } });
  const about = letter.resource_id ? el("a", { href: `#messages/resource/${letter.resource_id}` }, `${letter.resource_type} ${short(letter.resource_id)}`) : "–";
  const look = button("Look", () => lookAt(id), { "aria-label": `Look at dead letter ${id}` });
  return el("tr", {}, el("td", {}, box), el("td", { class: "reason" }, letter.reason), el("td", {}, letter.kind), el("td", {}, about),
    el("td", {}, time(letter.published)), el("td", { class: "number" }, letter.attempts === null ? "–" : String(letter.attempts)), el("td", {}, look));
}

function choose(ids) {
  panel.chosen = new Set(ids);
  for (const box of panel.body.querySelectorAll("input")) box.checked = panel.chosen.has(box.value);
  tellChosen();
}

function tellChosen() {
  const number = panel.chosen.size;
  setText(panel.replay, number ? `Replay ${number} chosen` : "Replay all");
  setText(panel.drop, number ? `Drop ${number} chosen …` : "Drop all …");
  panel.all.checked = number > 0 && number === panel.letters.length;
  panel.all.indeterminate = number > 0 && number < panel.letters.length;
}

/** Replay or drop those that are chosen, or all. */
async function settle(what) {
  const ids = panel.chosen.size ? [...panel.chosen] : "all";
  const answer = await post(`trouble/letters/${what}`, { ids });
  const number = answer.replayed ?? answer.dropped;
  say([`${number} of ${answer.found} ${what === "replay" ? "replayed" : "dropped"}.`, answer.remarks].filter(Boolean).join(" "), answer.remarks ? "bad" : "info");
  panel.chosen.clear();
  await load();
}

function confirmDrop() {
  ask(`Drop ${counted(panel.chosen.size || panel.number, "dead letter")}?`,
    "They are deleted and cannot be replayed any more. What they told does not reach Segment by them.", "Drop", () => settle("drop"));
}

async function lookAt(id) {
  const { letter, explained } = await get(`trouble/letters/${id}`);
  const known = [["Reason", letter.reason], ["Kind", letter.kind], ["Attempts", letter.attempts], ["Message", letter.message_id], ["Was message", letter.source_message_id], ["Size", `${letter.bytes} bytes`]];
  let data = letter.data;
  try {
    data = JSON.parse(letter.data);
  } catch { /* it is shown as it is */ }
  const would = explained.reason ? `${explained.outcome}: ${explained.reason}` : explained.outcome;
  const dialog = el("dialog", { "aria-labelledby": "letter-title" }, el("h3", { id: "letter-title" }, `Dead letter ${id}`),
    facts(known.filter(([, value]) => value !== null && value !== undefined)),
    el("h3", {}, "Data"), json(data, "Data of the dead letter"),
    el("h3", {}, "What explain says"), el("p", {}, "A replay would be ", el("strong", {}, would), explained.outcome === "unknown" ? ", because the service would read the resource then." : "."),
    explained.notes.map((note) => el("p", { class: "muted" }, note)), json(explained, "What explain says"),
    el("div", { class: "row" }, el("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Close")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
