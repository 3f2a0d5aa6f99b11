// What Segment knows: the users, one profile with the origin of each trait, and the events as they arrive.
import { get } from "./api.js";
import { el, empty, fill, json, say, time } from "./dom.js";
import { onFrame, state } from "./live.js";

const REFRESH_MS = 1000;
const PAGE = 50;
const DROPPED = {
  duplicate: "Segment had seen this messageId, and dropped the event.",
  suppressed: "The user id is suppressed: Segment dropped the event.",
  unknown_key: "Segment does not know this write key, and dropped the event.",
  over_2500: "The batch had more than 2,500 events, and Segment dropped this one.",
  no_id: "The event has neither userId nor anonymousId, and Segment dropped it.",
  long_message_id: "The messageId is longer than 100 characters, and Segment dropped the event.",
  too_many_traits: "The event has 300 traits or more, and Segment dropped it.",
};

let view = null; // the elements
let opened = ""; // the user id of the open profile
let wanted = 0; // the event that is to be opened in the profile
let older = []; // rows of the stream that the reader has asked for

export function mount(section) {
  const search = el("input", { type: "search", id: "segment-search", autocomplete: "off", spellcheck: false });
  view = {
    section,
    search,
    found: el("p", { class: "muted", id: "segment-found" }),
    users: el("ul", { class: "segment-users", id: "segment-users", "aria-label": "Users, the last changed first" }),
    profile: el("div", { class: "panel", id: "segment-profile", role: "region", "aria-label": "Profile" }),
    counts: el("p", { class: "muted", id: "segment-counts" }),
    events: el("ol", { class: "segment-events", id: "segment-events", "aria-label": "Events, the newest first" }),
    more: el("button", { type: "button", onclick: showOlder, hidden: true }, "Show older events"),
  };
  section.append(
    el(
      "div",
      { class: "segment-columns" },
      el(
        "section",
        { class: "panel", "aria-labelledby": "segment-users-title" },
        el("h3", { id: "segment-users-title" }, "Users"),
        el(
          "form",
          { role: "search", onsubmit: (event) => event.preventDefault() },
          el("label", { for: "segment-search" }, "Search by user id, e-mail address or name"),
          search,
        ),
        view.found,
        view.users,
      ),
      view.profile,
    ),
    el(
      "section",
      { class: "panel segment-stream", "aria-labelledby": "segment-events-title" },
      el("h3", { id: "segment-events-title" }, "Events in the order of arrival"),
      view.counts,
      view.events,
      view.more,
    ),
  );
  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => loadUsers(true).catch(tell), 150);
  });
  showNoProfile();
  onFrame(({ state: now }) => refresh(now));
}

/** `user/ID` opens a profile, `event/N` the profile of the event's user, and the event there. */
export async function shown(rest) {
  const [, kind, id] = /^(?:(user|event)\/)?(.*)$/s.exec(rest);
  if (id && kind === "event") await openEvent(Number(id));
  else if (id) await openUser(id);
  if (state()) refresh(state());
}

// Fetching: at most once a second, when something has arrived and the view can be seen

let known = "";
let next = 0;
let waiting = 0;

function refresh(now) {
  const mark = JSON.stringify(now.segment);
  if (view.section.hidden || document.hidden || mark === known || waiting) return;
  waiting = setTimeout(async () => {
    known = mark;
    next = performance.now() + REFRESH_MS;
    try {
      await Promise.all([loadUsers(), loadEvents(), opened && loadProfile(opened)]);
    } catch {
      known = ""; // the next frame asks again; the page says when it is not connected
    }
    waiting = 0;
    if (state()) refresh(state());
  }, Math.max(0, next - performance.now()));
}

function tell(error) {
  say(error.message, "bad");
}

// Users

async function loadUsers(isAsked = false) {
  const search = view.search.value;
  const { total, users } = await get(`segment/users?limit=${PAGE}&search=${encodeURIComponent(search)}`);
  if (search !== view.search.value) return;
  view.found.textContent = users.length < total ? `The ${users.length} last changed of ${total}` : `${total} found`;
  if (!total) {
    const text = search.trim()
      ? "No user has this in its id, e-mail address or name."
      : "Segment knows nobody yet. Move the slider at the top, or create a customer in the Shop.";
    fill(view.users, el("li", {}, empty(text)));
    return;
  }
  keyed(view.users, users, (user) => user.id, makeUser, updateUser, isAsked);
}

function makeUser() {
  const link = el("a", {}, el("strong"), el("span", { class: "muted" }));
  return el("li", {}, link, el("span", { class: "segment-facts" }));
}

function updateUser(row, user) {
  const [link, facts] = row.children;
  link.href = `#segment/user/${encodeURIComponent(user.id)}`;
  if (user.id === opened) link.setAttribute("aria-current", "true");
  else link.removeAttribute("aria-current");
  text(link.children[0], user.name || user.email || user.id);
  text(link.children[1], user.name ? user.email || user.id : user.email ? user.id : "");
  text(facts, `${time(user.at)} · ${number(user.traits, "trait")}, ${number(user.events, "event")}`);
}

// A profile

async function openUser(id) {
  wanted = 0;
  await show(id);
}

async function openEvent(n) {
  try {
    const event = await get(`segment/events/${n}`);
    if (!event.user) {
      opened = "";
      showEventAlone(event);
      return;
    }
    wanted = n;
    await show(event.user);
  } catch (error) {
    tell(error);
  }
}

async function show(id) {
  const isOther = id !== opened;
  opened = id;
  try {
    await loadProfile(id);
  } catch (error) {
    opened = "";
    fill(view.profile, el("h3", {}, "Profile"), empty(`Segment has never heard of ${id}. ${error.message}`));
    return;
  }
  for (const link of view.users.querySelectorAll("a")) {
    if (link.hash === `#segment/user/${encodeURIComponent(id)}`) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (isOther && !wanted) view.profile.querySelector("h3").focus();
  if (wanted) showWanted();
}

function showNoProfile() {
  fill(view.profile, el("h3", {}, "Profile"), empty("Choose a user: you see its traits, and which event set each of them."));
}

function showEventAlone(event) {
  fill(
    view.profile,
    el("h3", { tabIndex: -1 }, `Event ${event.n}`),
    el("p", {}, `Its sender is known by an anonymousId alone: ${event.anonymous || "none"}.`),
    json(event.event, `Event ${event.n}`),
  );
  view.profile.querySelector("h3").focus();
}

function showWanted() {
  const details = view.profile.querySelector(`details[data-n="${wanted}"]`);
  if (!details) say(`Event ${wanted} is older than the events that are listed here.`);
  else {
    details.open = true;
    details.querySelector("summary").focus();
    details.scrollIntoView({ block: "nearest" });
  }
  wanted = 0;
}

async function loadProfile(id) {
  const user = await get(`segment/users/${encodeURIComponent(id)}`);
  if (id !== opened) return;
  if (view.profile.dataset.user !== id || !view.profile.querySelector(".segment-traits")) layOut(id);
  const part = (name) => view.profile.querySelector(`.segment-${name}`);
  text(part("name"), user.name || user.email || user.id);
  updateTags(part("tags"), user);
  text(part("id"), user.id);
  const link = part("customer");
  link.hidden = !user.customer;
  link.href = `#shop/customer/${encodeURIComponent(user.customer)}`;
  text(part("consent"), consentOf(user.consent));
  part("groups").hidden = !user.groups.length;
  text(part("groups"), `Groups: ${user.groups.map((group) => group.traits.name ?? group.id).join(", ")}`);
  const traits = withOrigins(user);
  part("table").hidden = !traits.length;
  part("none").hidden = user.profile.length > 0;
  text(part("none"), user.deleted ? `The profile was deleted at ${time(user.deleted)}.` : "Segment has no traits of this user: only events about it have arrived.");
  keyed(part("traits"), traits, (trait) => trait.name, makeTrait, updateTrait);
  text(part("listed"), user.arrivals.length ? "" : "The newest 20,000 events have none of this user.");
  keyed(part("arrivals"), user.arrivals, (row) => row.n, makeEvent, updateEvent);
}

/** The traits with commercetools' field of each, and those that are not sent with the reason. */
function withOrigins(user) {
  const origins = new Map(user.origins.map((origin) => [origin.name, origin.why]));
  const known = new Set(user.profile.map((trait) => trait.name));
  return [
    ...user.profile.map((trait) => ({ ...trait, why: origins.get(trait.name) ?? "" })),
    ...user.origins.filter((origin) => !known.has(origin.name)).map((origin) => ({ ...origin, absent: true })),
  ];
}

function layOut(id) {
  view.profile.dataset.user = id;
  const head = (title) => el("th", { scope: "col" }, title);
  fill(
    view.profile,
    el(
      "div",
      { class: "row" },
      el("h3", { class: "segment-name", tabIndex: -1 }),
      el("span", { class: "segment-tags row" }),
      el("a", { class: "segment-customer" }, "Show the customer in the shop"),
    ),
    el("p", { class: "muted" }, "User id ", el("code", { class: "segment-id" })),
    el("p", { class: "segment-consent" }),
    el("p", { class: "segment-groups" }),
    el("p", { class: "segment-none muted" }),
    el(
      "div",
      { class: "scroll segment-table" },
      el(
        "table",
        {},
        el("caption", { class: "segment-caption" }, "Traits"),
        el("thead", {}, el("tr", {}, head("Trait"), head("Value"), head("commercetools’ field"), head("Last set"), head("The same since"))),
        el("tbody", { class: "segment-traits" }),
      ),
    ),
    el("h4", {}, "Events of this user, the newest first"),
    el("p", { class: "segment-listed muted" }),
    el("ol", { class: "segment-events segment-arrivals", "aria-label": "Events of this user" }),
  );
}

function updateTags(element, user) {
  const tags = [
    user.suppressed && ["bad", "suppressed"],
    user.deleted && ["none", "deleted"],
    !user.identified && !user.deleted && ["none", "no identify"],
  ].filter(Boolean);
  const words = tags.map(([, word]) => word).join(" ");
  if (element.dataset.words === words) return;
  element.dataset.words = words;
  fill(element, ...tags.map(([kind, word]) => el("span", { class: `tag ${kind}` }, word)));
}

function consentOf(consent) {
  const preferences = consent?.categoryPreferences;
  if (!preferences) return "Consent: no event has named any.";
  const all = Object.entries(preferences).map(([category, given]) => `${category} ${given ? "given" : "refused"}`);
  return `Consent: ${all.join(", ")}`;
}

function makeTrait() {
  const again = (event) => {
    if (event.currentTarget.hash === location.hash) openEvent(Number(location.hash.split("/").at(-1)));
  };
  const moment = (label) =>
    el("td", { class: "segment-moment", "data-label": label }, el("span"), " ", el("a", { onclick: again }));
  return el(
    "tr",
    {},
    el("th", { scope: "row" }),
    el("td", { class: "segment-value" }),
    el("td", { class: "segment-why muted", "data-label": "commercetools’ field" }),
    moment("Last set"),
    moment("The same since"),
  );
}

function updateTrait(row, trait) {
  const [name, value, why, told, changed] = row.children;
  text(name, trait.name);
  text(why, trait.why);
  if (trait.absent) {
    if (value.textContent !== "not sent") fill(value, el("span", { class: "tag none" }, "not sent"));
    return;
  }
  const shown = trait.cleared ? "" : typeof trait.value === "string" ? trait.value : JSON.stringify(trait.value);
  if (value.dataset.value !== shown || row.dataset.cleared !== String(trait.cleared)) {
    if (value.dataset.value !== undefined) flash(row);
    value.dataset.value = shown;
    row.dataset.cleared = String(trait.cleared);
    fill(value, trait.cleared ? el("span", { class: "tag none" }, "cleared") : el("span", {}, shown));
  }
  setMoment(told, trait.at, trait.event);
  setMoment(changed, trait.changed_at, trait.changed_event);
}

function setMoment(cell, at, n) {
  const [moment, link] = cell.children;
  text(moment, time(at));
  text(link, `event ${n}`);
  link.href = `#segment/event/${n}`;
}

function flash(row) {
  row.classList.remove("changed");
  void row.offsetWidth; // so that the animation begins anew
  row.classList.add("changed");
}

// Events

async function loadEvents() {
  const { events, more, total, remembered } = await get(`segment/events?limit=${PAGE}`);
  const { duplicates, dropped } = state().segment;
  const others = Object.entries(dropped).map(([reason, count]) => `, ${count} dropped (${reason.replaceAll("_", " ")})`);
  text(
    view.counts,
    `${number(total, "event")}, ${number(duplicates, "duplicate")} dropped${others.join("")}. ` +
      `The newest ${remembered} are remembered. The list stands still while you point at it or are in it.`,
  );
  if (!events.length) {
    fill(view.events, el("li", {}, empty("No event has arrived yet. Move the slider at the top, or change something in the Shop.")));
    return;
  }
  const rows = older.length ? join(events, older) : events;
  if (keyed(view.events, rows, (row) => row.n, makeEvent, updateEvent)) return;
  older = rows === events ? [] : rows;
  view.more.hidden = !more || rows.at(-1).n <= total - remembered + 1;
}

/** The newest events and the older ones that were asked for; where there is a gap, the newest alone. */
function join(events, before) {
  const last = events.at(-1).n;
  if (before[0].n < last - 1) return events;
  return [...events, ...before.filter((row) => row.n < last)];
}

async function showOlder() {
  const rows = [...view.events.querySelectorAll("details")].map((details) => details.row);
  try {
    const { events, more } = await get(`segment/events?limit=${PAGE}&before=${rows.at(-1).n}`);
    older = [...rows, ...events];
    keyed(view.events, older, (row) => row.n, makeEvent, updateEvent, true);
    view.more.hidden = !more;
  } catch (error) {
    tell(error);
  }
}

function makeEvent(row) {
  const details = el(
    "details",
    { "data-n": row.n },
    el(
      "summary",
      {},
      el("span", { class: "segment-number" }, String(row.n)),
      el("span", { class: "segment-time" }, time(row.at)),
      el("strong", {}, row.name || row.type),
      row.dropped && el("span", { class: `tag ${row.dropped === "duplicate" ? "open" : "bad"}` }, row.dropped.replaceAll("_", " ")),
      el("span", { class: "segment-who muted" }, row.user || (row.anonymous ? `anonymous ${row.anonymous}` : "nobody")),
    ),
  );
  details.row = row;
  details.addEventListener("toggle", async () => {
    if (!details.open || details.dataset.full) return;
    details.dataset.full = "true";
    try {
      const { event } = await get(`segment/events/${row.n}`);
      const link = (href, words) => el("p", {}, el("a", { href }, words));
      details.append(
        ...[
          row.dropped && el("p", {}, DROPPED[row.dropped] ?? "Segment dropped the event."),
          row.user && row.user !== opened && link(`#segment/user/${encodeURIComponent(row.user)}`, "Show the profile"),
          row.order && link(`#shop/order/${encodeURIComponent(row.order)}`, "Show the order in the shop"),
          json(event, `Event ${row.n}`),
        ].filter(Boolean),
      );
    } catch (error) {
      delete details.dataset.full;
      details.open = false;
      tell(error);
    }
  });
  return el("li", {}, details);
}

function updateEvent() {}

// Elements

/** Bring a list up to date, reusing its elements. Nothing moves while it is pointed at or has the focus. */
function keyed(parent, items, keyOf, make, update, isAsked = false) {
  const before = new Map([...parent.children].filter((child) => child.key !== undefined).map((child) => [child.key, child]));
  const isTable = parent.tagName === "TBODY";
  const area = parent.closest(".segment-stream") ?? parent;
  const isUsed = area.matches(":hover") || area.contains(document.activeElement);
  const isStill = !isAsked && !isTable && before.size > 0 && isUsed;
  if (isStill) {
    for (const item of items) if (before.has(keyOf(item))) update(before.get(keyOf(item)), item);
    return true;
  }
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
  return false;
}

function text(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

function number(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
