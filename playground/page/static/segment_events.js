// Events in lists: a row for each, which unfolds to the whole event.
import { get } from "./api.js";
import { el, json, keyed, say, time } from "./dom.js";

const DROPPED = {
  duplicate: "Segment had seen this messageId, and dropped the event.",
  suppressed: "The user id is suppressed: Segment dropped the event.",
  unknown_key: "Segment does not know this write key, and dropped the event.",
  over_2500: "The batch had more than 2,500 events, and Segment dropped this one.",
  no_id: "The event has neither userId nor anonymousId, and Segment dropped it.",
  long_message_id: "The messageId is longer than 100 characters, and Segment dropped the event.",
  too_many_traits: "The event has 300 traits or more, and Segment dropped it.",
};

/**
 * Show rows of events in a list. `isOpen` tells whether a user's profile is shown already. An event never changes, so a
 * row that is there already stays as it is.
 */
export function showEvents(list, rows, isOpen) {
  keyed(list, rows, (row) => row.n, (row) => makeEvent(row, isOpen));
}

function makeEvent(row, isOpen) {
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
  details.addEventListener("toggle", async () => {
    if (!details.open || details.dataset.full) return;
    details.dataset.full = "true";
    try {
      const { event } = await get(`segment/events/${row.n}`);
      const link = (href, words) => el("p", {}, el("a", { href }, words));
      details.append(
        ...[
          row.dropped && el("p", {}, DROPPED[row.dropped] ?? "Segment dropped the event."),
          row.user && !isOpen(row.user) && link(`#segment/user/${encodeURIComponent(row.user)}`, "Show the profile"),
          row.order && link(`#shop/order/${encodeURIComponent(row.order)}`, "Show the order in the shop"),
          json(event, `Event ${row.n}`),
        ].filter(Boolean),
      );
    } catch (error) {
      delete details.dataset.full;
      details.open = false;
      say(error.message, "bad");
    }
  });
  return el("li", {}, details);
}
