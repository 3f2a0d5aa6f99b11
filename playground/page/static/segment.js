// What Segment knows: the users, one profile with the origin of each trait, and the events as they arrive.
import { get } from "./api.js";
import { button, counted, el, empty, fill, isInUse, keyed, say, setCurrent, setText, time } from "./dom.js";
import { onFrame, state } from "./live.js";
import { showEvents } from "./segment_events.js";
import { openEventOf, showEventAlone, showNoProfile, showProfile, showUnknown } from "./segment_profile.js";

const REFRESH_MS = 1000;
const PAGE = 50;
let view = null; // the elements
let opened = ""; // the user id of the open profile
let wanted = 0; // the event that is to be opened in the profile
let listed = []; // the rows of the stream
let isExtended = false; // by older rows that the reader has asked for

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
    more: button("Show older events", showOlder, { hidden: true }),
  };
  view.stream = el(
    "section",
    { class: "panel segment-stream", "aria-labelledby": "segment-events-title" },
    el("h3", { id: "segment-events-title" }, "Events in the order of arrival"),
    view.counts,
    view.events,
    view.more,
  );
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
    view.stream,
  );
  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => loadUsers(true).catch(tell), 150);
  });
  showNoProfile(view.profile);
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
  if (isAsked || !isInUse(view.users)) keyed(view.users, users, (user) => user.id, makeUser, updateUser);
  else updateInPlace(users);
}

function updateInPlace(users) {
  const rows = new Map([...view.users.children].map((row) => [row.key, row]));
  for (const user of users) if (rows.has(user.id)) updateUser(rows.get(user.id), user);
}

function makeUser() {
  const link = el("a", {}, el("strong"), el("span", { class: "muted" }));
  return el("li", {}, link, el("span", { class: "segment-facts" }));
}

function updateUser(row, user) {
  const [link, facts] = row.children;
  link.href = `#segment/user/${encodeURIComponent(user.id)}`;
  setCurrent(link, user.id === opened && "true");
  setText(link.children[0], user.name || user.email || user.id);
  setText(link.children[1], user.name ? user.email || user.id : user.email ? user.id : "");
  setText(facts, `${time(user.at)} · ${counted(user.traits, "trait")}, ${counted(user.events, "event")}`);
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
      showEventAlone(view.profile, event);
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
    showUnknown(view.profile, id, error.message);
    return;
  }
  for (const link of view.users.querySelectorAll("a")) setCurrent(link, link.hash === `#segment/user/${encodeURIComponent(id)}` && "true");
  if (isOther && !wanted) view.profile.querySelector("h3").focus();
  if (wanted) openEventOf(view.profile, wanted);
  wanted = 0;
}

async function loadProfile(id) {
  const user = await get(`segment/users/${encodeURIComponent(id)}`);
  if (id !== opened) return;
  showProfile(view.profile, user, openEvent);
}

// Events

async function loadEvents() {
  const { events, more, total, remembered } = await get(`segment/events?limit=${PAGE}`);
  const { duplicates, dropped } = state().segment;
  const others = Object.entries(dropped).map(([reason, count]) => `, ${count} dropped (${reason.replaceAll("_", " ")})`);
  setText(
    view.counts,
    `${counted(total, "event")}, ${counted(duplicates, "duplicate")} dropped${others.join("")}. ` +
      `The newest ${remembered} are remembered. The list stands still while you point at it or are in it.`,
  );
  if (!events.length) {
    fill(view.events, el("li", {}, empty("No event has arrived yet. Move the slider at the top, or change something in the Shop.")));
    return;
  }
  if (isInUse(view.events, view.stream)) return;
  const rows = isExtended ? joined(events, listed) : events;
  isExtended = rows !== events;
  showListed(rows, more && rows.at(-1).n > total - remembered + 1);
}

/** The newest events and the older ones that are listed; where there is a gap, the newest alone. */
function joined(events, before) {
  const last = events.at(-1).n;
  if (before[0].n < last - 1) return events;
  return [...events, ...before.filter((row) => row.n < last)];
}

async function showOlder() {
  const { events, more } = await get(`segment/events?limit=${PAGE}&before=${listed.at(-1).n}`);
  isExtended = true;
  showListed([...listed, ...events], more);
}

function showListed(rows, more) {
  listed = rows;
  showEvents(view.events, rows, (user) => user === opened);
  view.more.hidden = !more;
}
