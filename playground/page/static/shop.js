// The shop: lists of customers and orders, one of them in full, and what can be done to it.
import { get, post } from "./api.js";
import { doing, el, empty, fill, json, say } from "./dom.js";
import { onFrame } from "./live.js";

const FIELDS = [
  ["email", "E-mail", "email"], ["firstName", "First name"], ["lastName", "Last name"], ["dateOfBirth", "Date of birth", "date"],
  ["companyName", "Company"], ["locale", "Locale"],
];
const ADDRESS = [
  ["streetName", "Street"], ["streetNumber", "Number"], ["postalCode", "Postal code"], ["city", "City"], ["state", "State"],
  ["country", "Country (two letters)"], ["phone", "Phone"],
];
const STATES = {
  orderState: ["Order", ["Open", "Confirmed", "Complete", "Cancelled"]],
  paymentState: ["Payment", ["BalanceDue", "Pending", "CreditOwed", "Failed", "Paid"]],
  shipmentState: ["Shipment", ["Delayed", "Backorder", "Partial", "Ready", "Shipped", "Delivered"]],
};
const REFUND_STATES = ["Initial", "Pending", "Success", "Failure"];
const EXAMPLE = '[\n  {"action": "setTitle", "title": "Dr."}\n]';
const DRAFT = '{\n  "email": "ada@example.com",\n  "firstName": "Ada",\n  "addresses": [{"country": "GB", "city": "London"}],\n  "defaultShippingAddress": 0\n}';
const PAGE = 50;

const page = { kind: "customers", start: 0, open: null, openKind: "", version: 0, asked: 0, groups: [], focused: "", typed: {}, unfolded: new Set() };
let parts = null;

const go = (hash) => {
  if (location.hash === hash) shown(decodeURIComponent(hash.slice("#shop/".length)));
  else location.hash = hash;
};
const short = (id) => id.slice(0, 8);
const when = (text) => `${text.slice(0, 10)} ${new Date(text).toLocaleTimeString("en-GB")}`;
const button = (words, action, properties = {}) => {
  const one = el("button", { type: "button", ...properties, onclick: () => doing(one, action) }, words);
  return one;
};
const field = (id, label, input) => el("div", { class: "field" }, el("label", { for: id }, label), Object.assign(input, { id }));
const options = (select, choices, value) => {
  fill(select, choices.map(([one, words]) => el("option", { value: one, selected: one === value }, words)));
  return select;
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
  parts.count.textContent = `${parts.search.value.trim() ? found : ""}${total.toLocaleString("en")} ${total === 1 ? page.kind.slice(0, -1) : page.kind}${searched ? `; only the ${searched.toLocaleString("en")} changed last were searched` : ""}`;
  parts.before.hidden = page.start === 0;
  parts.after.hidden = !more;
  if (!rows.length) {
    const nobody = parts.search.value.trim() ? `No ${page.kind} like that.` : customers ? "The shop has no customers. Create one." : "Nothing was ordered yet. Place an order, or let the shop live: move the slider at the top.";
    fill(parts.rows, empty(nobody));
    return;
  }
  const titles = customers ? ["Customer", "Changed"] : ["Order", "Total", "Changed"];
  fill(parts.rows, el("div", { class: "scroll" }, el("table", { id: `list-${page.kind}` },
    el("thead", {}, el("tr", {}, titles.map((title) => el("th", { scope: "col", class: title === "Customer" || title === "Order" ? "" : "number" }, title)))),
    el("tbody", {}, rows.map(customers ? customerRow : orderRow)))));
}

function customerRow(row) {
  return el("tr", { "data-id": row.id, class: row.id === page.open ? "open" : "" },
    el("td", {}, el("a", { href: `#shop/customer/${row.id}` }, row.email), el("div", { class: "muted small" }, [row.name, row.company].filter(Boolean).join(" · ") || "no name")),
    changedCell(row));
}

function changedCell(row) {
  return el("td", { class: "number" }, new Date(row.at).toLocaleTimeString("en-GB"), el("div", { class: "muted small" }, `version ${row.version}`));
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
  for (const [name, link] of Object.entries(parts.tabs)) {
    if (name === kind) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  parts.label.textContent = kind === "customers" ? "Search by e-mail, name or id" : "Search by number, id or buyer";
  fill(parts.make, kind === "customers" ? parts.forCustomers : parts.forOrders);
  return list();
}

// One customer

/** The inputs of a customer's form; `changed()` gives what differs from what was shown. */
function customerFields(customer, prefix) {
  const inputs = [];
  const add = (path, label, input, value) => {
    input.value = value;
    inputs.push([path, input, input.value]);
    return field(`${prefix}-${path.join("-")}`, label, input);
  };
  const group = options(el("select"), [["", "none"], ...page.groups.map((one) => [one.id, one.name])], customer.customerGroup?.id ?? "");
  const address = customer.addresses?.[0] ?? {};
  const element = el("div", {},
    el("div", { class: "fields" }, FIELDS.map(([name, label, type]) => add([name], label, el("input", { type: type ?? "text", autocomplete: "off" }), customer[name] ?? "")),
      add(["customerGroup"], "Customer group", group, group.value)),
    el("fieldset", {}, el("legend", {}, (customer.addresses?.length ?? 0) > 1 ? `Address (the first of ${customer.addresses.length})` : "Address"),
      el("div", { class: "fields" }, ADDRESS.map(([name, label]) => add(["address", name], label, el("input", { type: "text", autocomplete: "off" }), address[name] ?? "")))));
  const changed = () => {
    const found = {};
    for (const [[name, inner], input, before] of inputs) {
      if (input.value === before) continue;
      if (inner) found[name] = { ...found[name], [inner]: input.value };
      else found[name] = input.value;
    }
    return found;
  };
  return { element, changed };
}

/** A box for JSON with a button that sends it; what was sent last is there again. */
function editor(id, label, text, words, send) {
  const box = el("textarea", { rows: 8, spellcheck: false, value: page.typed[id] ?? text });
  return el("div", {}, field(id, label, box), el("div", { class: "row under" }, button(words, async () => {
    let value;
    page.typed[id] = box.value;
    try {
      value = JSON.parse(box.value);
    } catch (error) {
      throw new Error(`This is not JSON: ${error.message}.`);
    }
    await send(value);
  }, { id: `${id}-send` })));
}

/** A box for what failed in a dialog, above which a notice would not be seen; `within` runs an action and fills it. */
function problems() {
  const line = el("p", { class: "problem", role: "alert" });
  const within = (action) => async (...given) => {
    line.textContent = "";
    try {
      await action(...given);
    } catch (error) {
      line.textContent = error.message;
    }
  };
  return { line, within };
}

/** Ask before what cannot be undone. */
function confirm(title, text, words, action) {
  const dialog = parts.dialog;
  const { line, within } = problems();
  const yes = button(words, within(async () => {
    await action();
    dialog.close();
    focusAgain();
  }), { class: "danger", id: "confirm-yes" });
  fill(dialog, el("h3", { id: "shop-dialog-title" }, title), el("p", {}, text), line,
    el("div", { class: "row" }, yes, el("button", { type: "button", autofocus: true, onclick: () => dialog.close() }, "Keep")));
  dialog.showModal();
}

async function openCustomer(id) {
  const { customer, deleted, groups } = await get(`shop/customers/${encodeURIComponent(id)}`);
  page.groups = groups;
  opened(id, customer.version);
  const name = [customer.firstName, customer.lastName].filter(Boolean).join(" ") || customer.email;
  const head = [
    el("h3", { id: "detail-title", tabIndex: -1 }, name, " ", el("span", { class: `tag ${deleted ? "bad" : "none"}` }, deleted ? "deleted" : `version ${customer.version}`)),
    el("p", { class: "muted small wrap" }, `${customer.email} · ${id} · changed ${when(customer.lastModifiedAt)}`),
    el("p", { class: "row" }, el("a", { href: `#segment/${id}` }, "In Segment"), el("a", { href: `#messages/resource/${id}` }, "Messages about it"), el("a", { href: `#shop/orders/${id}` }, "Its orders")),
    parts.notice,
  ];
  const raw = folded("raw-customer", "JSON", json(customer, "JSON of the customer"));
  if (deleted) {
    fill(parts.detail, head, el("p", {}, "This customer was deleted. This is how it was last."), raw);
    return;
  }
  const act = (path, body, words) => async () => {
    await post(`shop/customers/${id}/${path}`, body);
    await after(words, () => openCustomer(id));
  };
  const form = customerFields(customer, "customer");
  const save = el("button", { class: "main", type: "submit", id: "save-customer" }, "Save");
  const deletion = (dataErasure) => () => confirm(
    dataErasure ? `Delete ${name} with data erasure?` : `Delete ${name}?`,
    dataErasure ? "commercetools erases the personal data for good, and the service has Segment delete and suppress this user id." : "The customer cannot be brought back. By the setting ERASURE=every, Segment deletes the profile too.",
    dataErasure ? "Delete and erase" : "Delete", act("delete", { dataErasure }, "Deleted."));
  fill(parts.detail, head,
    el("div", { class: "row actions" },
      button("Change at random", act("random", {}, "Changed at random."), { id: "change-at-random" }),
      button("Place an order", async () => {
        const order = await post("shop/orders", { customer: id });
        say("Ordered.");
        go(`#shop/order/${order.id}`);
      }, { id: "order-for-customer" }),
      button("Anonymise …", () => confirm(`Anonymise ${name}?`, `Names, addresses, date of birth and all else that tells who this is are taken away, and the e-mail becomes anonymised-${short(id)}…@example.com. The customer and its orders stay.`, "Anonymise", act("anonymise", {}, "Anonymised.")), { class: "danger", id: "anonymise" }),
      button("Delete …", deletion(false), { class: "danger", id: "delete" }),
      button("Delete with data erasure …", deletion(true), { class: "danger", id: "erase" })),
    el("form", { id: "customer-form", onsubmit: (event) => {
      event.preventDefault();
      doing(save, act("form", form.changed(), "Saved by one update."));
    } }, form.element, el("div", { class: "row under" }, save)),
    folded("raw-actions", "Update actions",
      editor("actions", "commercetools' update actions of one update, as a JSON array", EXAMPLE, "Send the update", async (actions) => {
        await post(`shop/customers/${id}/actions`, { actions });
        await after("Updated.", () => openCustomer(id));
      })),
    raw);
}

function createCustomer() {
  const dialog = parts.dialog;
  const { line, within } = problems();
  const created = within(async (draft) => {
    const customer = await post("shop/customers", draft);
    dialog.close();
    await after("Created.", () => go(`#shop/customer/${customer.id}`));
  });
  const form = customerFields({}, "new");
  const send = el("button", { class: "main", type: "submit", id: "create" }, "Create");
  fill(dialog, el("h3", { id: "shop-dialog-title" }, "New customer"),
    el("form", { onsubmit: (event) => {
      event.preventDefault();
      const { address, customerGroup, ...draft } = form.changed();
      if (address) Object.assign(draft, { addresses: [address], defaultShippingAddress: 0 });
      if (customerGroup) draft.customerGroup = { typeId: "customer-group", id: customerGroup };
      doing(send, () => created(draft));
    } }, form.element, line, el("div", { class: "row under" }, send, el("button", { type: "button", onclick: () => dialog.close() }, "Close"))),
    folded("raw-draft", "Or by JSON", editor("draft", "commercetools' CustomerDraft", DRAFT, "Create from JSON", created)));
  dialog.showModal();
}

// One order

async function openOrder(id) {
  const shown = await get(`shop/orders/${encodeURIComponent(id)}`);
  const { order, currency } = shown;
  opened(id, order.version);
  const money = (amount) => `${amount} ${currency}`;
  const reload = (words) => after(words, () => openOrder(id));
  const selects = Object.fromEntries(Object.entries(STATES).map(([name, [, states]]) => [name,
    options(el("select"), [...(order[name] ? [] : [["", "not set"]]), ...states.map((one) => [one, one])], order[name] ?? "")]));
  const set = async (states) => {
    await post(`shop/orders/${id}/states`, states);
    await reload("Changed by one update.");
  };
  const amount = el("input", { type: "text", inputMode: "decimal", value: shown.left, autocomplete: "off" });
  const state = options(el("select"), REFUND_STATES.map((one) => [one, one]), "Success");
  const refund = el("button", { type: "submit", id: "refund" }, "Refund");
  const total = (label, value) => el("tr", {}, el("th", { scope: "row", colSpan: 3 }, label), el("td", { class: "number" }, value));
  const cancelled = order.orderState === "Cancelled";
  fill(parts.detail,
    el("h3", { id: "detail-title", tabIndex: -1 }, `Order ${order.orderNumber ?? short(id)} `, el("span", { class: `tag ${cancelled ? "bad" : "none"}` }, order.orderState)),
    el("p", { class: "muted small wrap" }, `${order.customerEmail ?? "guest"} · ${id} · version ${order.version} · changed ${when(order.lastModifiedAt)}`),
    el("p", { class: "row" }, order.customerId && el("a", { href: `#shop/customer/${order.customerId}` }, shown.buyerExists ? "The customer" : "The customer, deleted"),
      order.customerId && el("a", { href: `#segment/${order.customerId}` }, "The customer in Segment"), el("a", { href: `#messages/resource/${id}` }, "Messages about it")),
    parts.notice,
    el("div", { class: "row actions" },
      button("Apply a random Order Edit", async () => {
        await post(`shop/orders/${id}/edit`);
        await reload("An Order Edit gave it another basket.");
      }, { id: "edit-order" }),
      !cancelled && button("Cancel the order …", () => confirm(`Cancel order ${order.orderNumber ?? short(id)}?`, "Its state becomes Cancelled, and Segment is told Order Cancelled, which cannot be taken back.", "Cancel the order", () => set({ orderState: "Cancelled" })), { class: "danger", id: "cancel-order" })),
    el("div", { class: "scroll" }, el("table", { id: "lines" }, el("caption", { class: "unseen" }, "Lines of the order"),
      el("thead", {}, el("tr", {}, [["Product", ""], ["Quantity", "number"], ["Price", "number"], [`Total, ${currency}`, "number"]].map(([title, kind]) => el("th", { scope: "col", class: kind }, title)))),
      el("tbody", {}, shown.lines.map((line) => el("tr", {}, el("td", {}, line.name, line.gift && el("span", { class: "tag none" }, "gift"), el("div", { class: "muted small" }, line.sku)),
        el("td", { class: "number" }, String(line.quantity)), el("td", { class: "number" }, line.price), el("td", { class: "number" }, line.total)))),
      el("tfoot", {}, shown.shipping !== null && total("Shipping", shown.shipping), total("To pay", shown.toPay), total("Refunded", shown.refunded), total("Left", shown.left)))),
    el("form", { class: "panel inner", id: "states-form", onsubmit: (event) => {
      event.preventDefault();
      const changed = Object.fromEntries(Object.entries(selects).filter(([name, one]) => one.value && one.value !== order[name]).map(([name, one]) => [name, one.value]));
      doing(event.submitter, () => (Object.keys(changed).length ? set(changed) : Promise.reject(new Error("Choose another state first."))));
    } }, el("h3", {}, "States"), el("div", { class: "fields" }, Object.entries(STATES).map(([name, [label]]) => field(`state-${name}`, label, selects[name]))),
      el("div", { class: "row under" }, el("button", { type: "submit", id: "change-states" }, "Change the states"))),
    el("div", { class: "panel inner" }, el("h3", {}, "Refunds"),
      shown.refunds.length ? el("div", { class: "scroll" }, el("table", { id: "refunds" }, el("thead", {}, el("tr", {}, [["Refund", ""], ["Amount", "number"], ["State", ""]].map(([title, kind]) => el("th", { scope: "col", class: kind }, title)))),
        el("tbody", {}, shown.refunds.map((one) => refundRow(one, money, reload))))) : el("p", { class: "muted" }, shown.paid ? "Nothing was refunded yet." : "The order is not paid. A refund makes the payment too."),
      el("form", { id: "refund-form", onsubmit: (event) => {
        event.preventDefault();
        doing(refund, async () => {
          await post(`shop/orders/${id}/refunds`, { amount: amount.value, state: state.value });
          await reload("Refunded.");
        });
      } }, el("div", { class: "fields" }, field("refund-amount", `Amount, at most ${money(shown.left)}`, amount), field("refund-state", "State", state)),
        el("div", { class: "row under" }, refund))),
    folded("raw-order", "JSON", json(order, "JSON of the order")));
}

function refundRow(refund, money, reload) {
  const ended = ["Success", "Failure"].includes(refund.state);
  const select = options(el("select", { "aria-label": `State of the refund ${short(refund.id)}`, onchange: async () => {
    try {
      await post(`shop/refunds/${refund.id}`, { state: select.value });
      await reload("The refund has another state.");
    } catch (error) {
      select.value = refund.state;
      say(error.message, "bad");
    }
  } }), REFUND_STATES.map((one) => [one, one]), refund.state);
  return el("tr", {}, el("td", {}, short(refund.id)), el("td", { class: "number" }, money(refund.amount)),
    el("td", {}, ended ? el("span", { class: `tag ${refund.state === "Success" ? "good" : "bad"}` }, refund.state) : select));
}

// Both

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

/** A part that stays unfolded when what is shown is made anew. */
function folded(id, title, ...inside) {
  const details = el("details", { id, open: page.unfolded.has(id) }, el("summary", { id: `${id}-title` }, title), inside);
  details.addEventListener("toggle", () => (details.open ? page.unfolded.add(id) : page.unfolded.delete(id)));
  return details;
}

/** Tell that what is shown has changed since; it is not replaced while somebody may type into it. */
function noticeChanges(rows) {
  if (!page.open || !rows.length) return;
  let newest = page.version;
  for (const row of rows) if (row.resource === page.open && row.version > newest) newest = row.version;
  if (newest === page.version || !parts.notice.isConnected) return;
  parts.notice.hidden = false;
  const words = `It has changed: there is version ${newest} now.`;
  if (parts.changed.textContent !== words) parts.changed.textContent = words;
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
    dialog: el("dialog", { "aria-labelledby": "shop-dialog-title", id: "shop-dialog" }),
    changed: el("span", { role: "status" }),
  };
  parts.notice = el("div", { class: "changed row", hidden: true }, parts.changed, button("Show it", () => show(page.openKind, page.open)));
  parts.forCustomers = [button("New customer …", createCustomer, { class: "main", id: "new-customer" }), button("Let something happen", async () => {
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
      parts.detail),
    parts.dialog);
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
