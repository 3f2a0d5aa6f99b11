// The shop: lists of customers and orders, one of them in full, and what can be done to it.
import { get, post } from "./api.js";
import { ask } from "./dialogs.js";
import { button, counted, el, empty, fill, say, setCurrent, setText, short, table, time } from "./dom.js";
import { onFrame } from "./live.js";
import { createCustomer, customerDetail } from "./shop_customer.js";
import { orderDetail } from "./shop_order.js";

const PAGE = 50;

const page = { kind: "customers", start: 0, open: null, openKind: "", version: 0, asked: 0, groups: [], focused: "" };
let parts = null;

const go = (hash) => {
  if (location.hash === hash) shown(decodeURIComponent(hash.slice("#shop/".length)));
  else location.hash = hash;
};

// The list

async function list() {
  const number = ++page.asked;
  const search = encodeURIComponent(parts.search.value.trim());
  const { kind, start } = page;
  try {
    const answer = await get(`shop/${kind}?q=${search}&from=${start}`);
    if (number !== page.asked) return; // a newer question was asked
    if (answer.groups) page.groups = answer.groups;
    showList(answer);
  } catch (error) {
    say(error.message, "bad");
  }
}

function showList({ rows, total, more, searched }) {
  const customers = page.kind === "customers";
  const found = `${(page.start + rows.length).toLocaleString("en")}${more ? " or more" : ""} found of `;
  parts.count.textContent = `${parts.search.value.trim() ? found : ""}${counted(total, page.kind.slice(0, -1))}${searched ? `; only the ${searched.toLocaleString("en")} changed last were searched` : ""}`;
  parts.before.hidden = page.start === 0;
  parts.after.hidden = !more;
  if (!rows.length) {
    const nobody = parts.search.value.trim() ? `No ${page.kind} like that.` : customers ? "The shop has no customers. Create one." : "Nothing was ordered yet. Place an order, or let the shop live: move the slider at the top.";
    fill(parts.rows, empty(nobody));
    return;
  }
  const heads = customers ? ["Customer", ["Changed", "number"]] : ["Order", ["Total", "number"], ["Changed", "number"]];
  fill(parts.rows, table({ id: `list-${page.kind}` }, heads, rows.map(customers ? customerRow : orderRow)));
}

function customerRow(row) {
  return el("tr", { "data-id": row.id, class: row.id === page.open ? "open" : "" },
    el("td", {}, el("a", { href: `#shop/customer/${row.id}` }, row.email), el("div", { class: "muted small" }, [row.name, row.company].filter(Boolean).join(" · ") || "no name")),
    changedCell(row));
}

function changedCell(row) {
  return el("td", { class: "number" }, time(row.at), el("div", { class: "muted small" }, `version ${row.version}`));
}

function orderRow(row) {
  return el("tr", { "data-id": row.id, class: row.id === page.open ? "open" : "" },
    el("td", {}, el("a", { href: `#shop/order/${row.id}` }, row.number || short(row.id)), el("div", { class: "muted small" }, row.buyer || "guest")),
    el("td", { class: "number" }, `${row.total} ${row.currency}`, el("div", {}, el("span", { class: `tag ${row.state === "Cancelled" ? "bad" : "none"}` }, row.state))),
    changedCell(row));
}

function mark() {
  for (const row of parts.rows.querySelectorAll("tr[data-id]")) row.className = row.dataset.id === page.open ? "open" : "";
}

function choose(kind, search, start = 0) {
  page.kind = kind;
  page.start = start;
  if (search !== undefined) parts.search.value = search;
  for (const [name, link] of Object.entries(parts.tabs)) setCurrent(link, name === kind && "page");
  parts.label.textContent = kind === "customers" ? "Search by e-mail, name or id" : "Search by number, id or buyer";
  fill(parts.make, kind === "customers" ? parts.forCustomers : parts.forOrders);
  return list();
}

// One customer or order

const confirm = (...given) => ask(...given).addEventListener("close", focusAgain);

async function openCustomer(id) {
  const shown = await get(`shop/customers/${encodeURIComponent(id)}`);
  page.groups = shown.groups;
  opened(id, shown.customer.version);
  const reload = (words) => after(words, () => openCustomer(id));
  fill(parts.detail, customerDetail(shown, { notice: parts.notice, reload, confirm, go }));
}

async function openOrder(id) {
  const shown = await get(`shop/orders/${encodeURIComponent(id)}`);
  opened(id, shown.order.version);
  const reload = (words) => after(words, () => openOrder(id));
  fill(parts.detail, orderDetail(shown, { notice: parts.notice, reload, confirm }));
}

function opened(id, version) {
  page.open = id;
  page.version = version;
  parts.notice.hidden = true;
  parts.detail.hidden = false;
  mark();
}

/** Say what was done, and show what it made of the shop. */
async function after(words, show) {
  say(words);
  await Promise.all([show(), list()]);
  focusAgain();
}

/** Give the focus back to what had it, after it was made anew. */
function focusAgain() {
  const lost = document.activeElement === document.body || !document.activeElement?.isConnected;
  if (lost) (document.getElementById(page.focused) ?? document.getElementById("detail-title"))?.focus({ preventScroll: true });
}

/** Tell that what is shown has changed since; it is not replaced while somebody may type into it. */
function noticeChanges(rows) {
  if (!page.open || !rows.length) return;
  let newest = page.version;
  for (const row of rows) if (row.resource === page.open && row.version > newest) newest = row.version;
  if (newest === page.version || !parts.notice.isConnected) return;
  parts.notice.hidden = false;
  setText(parts.changed, `It has changed: there is version ${newest} now.`);
}

export function mount(section) {
  parts = {
    tabs: { customers: el("a", { href: "#shop/customers" }, "Customers"), orders: el("a", { href: "#shop/orders" }, "Orders") },
    search: el("input", { type: "search", id: "shop-search", autocomplete: "off" }),
    label: el("label", { for: "shop-search" }),
    count: el("p", { class: "muted small", role: "status", id: "shop-count" }),
    rows: el("div", { id: "shop-rows" }),
    make: el("div", { class: "row" }),
    before: button("Newer", () => choose(page.kind, undefined, Math.max(0, page.start - PAGE))),
    after: button("Older", () => choose(page.kind, undefined, page.start + PAGE)),
    detail: el("div", { class: "panel detail", id: "shop-detail" }),
    changed: el("span", { role: "status" }),
  };
  parts.notice = el("div", { class: "changed row", hidden: true }, parts.changed, button("Show it", () => show(page.openKind, page.open)));
  parts.forCustomers = [button("New customer …", () => createCustomer(page.groups, (customer) => after("Created.", () => go(`#shop/customer/${customer.id}`))), { class: "main", id: "new-customer" }), button("Let something happen", async () => {
    const { id } = await post("shop/random");
    await after("A customer signed up, changed or left.", () => go(`#shop/customer/${id}`));
  }, { id: "anything" })];
  parts.forOrders = [button("Place an order as a guest", async () => {
    const { id } = await post("shop/orders");
    await after("Ordered.", () => go(`#shop/order/${id}`));
  }, { class: "main", id: "order-for-guest" })];
  let waiting = 0;
  parts.search.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => choose(page.kind), 200);
  });
  parts.detail.addEventListener("focusin", (event) => {
    page.focused = event.target.id;
  });
  fill(parts.detail, empty("Choose a customer or an order: it is shown here, and can be changed."));
  section.append(
    el("div", { class: "shop" },
      el("div", { class: "panel list" },
        el("nav", { class: "tabs", "aria-label": "Lists of the shop" }, parts.tabs.customers, parts.tabs.orders),
        parts.make,
        el("div", { class: "field" }, parts.label, el("div", { class: "row" }, parts.search, button("Look again", () => choose(page.kind), { id: "look-again" }))),
        parts.count, parts.rows, el("div", { class: "row under" }, parts.before, parts.after)),
      parts.detail));
  choose("customers");
  onFrame(({ rows }) => noticeChanges(rows));
}

async function show(kind, id) {
  page.openKind = kind;
  try {
    await (kind === "customer" ? openCustomer(id) : openOrder(id));
  } catch (error) {
    page.open = null;
    fill(parts.detail, empty(error.message));
    mark();
  }
}

/** `customer/ID`, `order/ID`, `customers`, `orders` or `orders/TEXT` to search for. */
export async function shown(rest) {
  const [kind, ...more] = rest.split("/");
  const id = more.join("/");
  if ((kind === "customer" || kind === "order") && id) {
    if (page.kind !== `${kind}s`) choose(`${kind}s`, "");
    await show(kind, id);
    if (matchMedia("(max-width: 50rem)").matches) document.getElementById("detail-title")?.focus();
  } else if (kind === "customers" || kind === "orders") choose(kind, id);
}
