// One profile in Segment: its traits, the event that set each of them, and the events of the user.
import { el, empty, fill, isInUse, json, keyed, say, setText, table, time } from "./dom.js";
import { showEvents } from "./segment_events.js";

export function showNoProfile(panel) {
  fill(panel, el("h3", {}, "Profile"), empty("Choose a user: you see its traits, and which event set each of them."));
}

export function showUnknown(panel, id, why) {
  fill(panel, el("h3", {}, "Profile"), empty(`Segment has never heard of ${id}. ${why}`));
}

/** Show an event that belongs to no profile. */
export function showEventAlone(panel, event) {
  fill(
    panel,
    el("h3", { tabIndex: -1 }, `Event ${event.n}`),
    el("p", {}, `Its sender is known by an anonymousId alone: ${event.anonymous || "none"}.`),
    json(event.event, `Event ${event.n}`),
  );
  panel.querySelector("h3").focus();
}

/** Unfold one of the events, and give it the focus. */
export function openEventOf(panel, n) {
  const details = panel.querySelector(`details[data-n="${n}"]`);
  if (!details) {
    say(`Event ${n} is older than the events that are listed here.`);
    return;
  }
  details.open = true;
  details.querySelector("summary").focus();
  details.scrollIntoView({ block: "nearest" });
}

/** Bring the panel up to date with a user. `openEvent` is called where the link to an event is followed once more. */
export function showProfile(panel, user, openEvent) {
  if (panel.dataset.user !== user.id || !panel.querySelector(".segment-traits")) layOut(panel, user.id);
  const part = (name) => panel.querySelector(`.segment-${name}`);
  setText(part("name"), user.name || user.email || user.id);
  updateTags(part("tags"), user);
  setText(part("id"), user.id);
  const link = part("customer");
  link.hidden = !user.customer;
  link.href = `#shop/customer/${encodeURIComponent(user.customer)}`;
  setText(part("consent"), consentOf(user.consent));
  part("groups").hidden = !user.groups.length;
  setText(part("groups"), `Groups: ${user.groups.map((group) => group.traits.name ?? group.id).join(", ")}`);
  const traits = withOrigins(user);
  panel.querySelector(".scroll").hidden = !traits.length;
  part("none").hidden = user.profile.length > 0;
  setText(part("none"), user.deleted ? `The profile was deleted at ${time(user.deleted)}.` : "Segment has no traits of this user: only events about it have arrived.");
  keyed(part("traits"), traits, (trait) => trait.name, () => makeTrait(openEvent), updateTrait);
  setText(part("listed"), user.arrivals.length ? "" : "The newest 20,000 events have none of this user.");
  if (!isInUse(part("arrivals"))) showEvents(part("arrivals"), user.arrivals, () => true);
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

function layOut(panel, id) {
  panel.dataset.user = id;
  fill(
    panel,
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
    table({}, ["Trait", "Value", "commercetools’ field", "Last set", "The same since"], el("tbody", { class: "segment-traits" }), {
      caption: el("caption", { class: "segment-caption" }, "Traits"),
      cards: true,
    }),
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

function makeTrait(openEvent) {
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
    el("td", { class: "muted", "data-label": "commercetools’ field" }),
    moment("Last set"),
    moment("The same since"),
  );
}

function updateTrait(row, trait) {
  const [name, value, why, told, changed] = row.children;
  setText(name, trait.name);
  setText(why, trait.why);
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
  setText(moment, time(at));
  setText(link, `event ${n}`);
  link.href = `#segment/event/${n}`;
}

function flash(row) {
  row.classList.remove("changed");
  void row.offsetWidth; // so that the animation begins anew
  row.classList.add("changed");
}
