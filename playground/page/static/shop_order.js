// One order of the shop: its lines, states and refunds, and what can be done to it.
import { post } from "./api.js";
import { button, doing, el, json, say, short, table } from "./dom.js";
import { field, folded, options, when } from "./shop_forms.js";

const STATES = {
  orderState: ["Order", ["Open", "Confirmed", "Complete", "Cancelled"]],
  paymentState: ["Payment", ["BalanceDue", "Pending", "CreditOwed", "Failed", "Paid"]],
  shipmentState: ["Shipment", ["Delayed", "Backorder", "Partial", "Ready", "Shipped", "Delivered"]],
};
const REFUND_STATES = ["Initial", "Pending", "Success", "Failure"];

/** The elements for an order. `reload` says what was done and shows the order anew, `confirm` asks before. */
export function orderDetail(shown, { notice, reload, confirm }) {
  const { order, currency } = shown;
  const { id } = order;
  const money = (amount) => `${amount} ${currency}`;
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
  return [
    el("h3", { id: "detail-title", tabIndex: -1 }, `Order ${order.orderNumber ?? short(id)} `, el("span", { class: `tag ${cancelled ? "bad" : "none"}` }, order.orderState)),
    el("p", { class: "muted small wrap" }, `${order.customerEmail ?? "guest"} · ${id} · version ${order.version} · changed ${when(order.lastModifiedAt)}`),
    el("p", { class: "row" }, order.customerId && el("a", { href: `#shop/customer/${order.customerId}` }, shown.buyerExists ? "The customer" : "The customer, deleted"),
      order.customerId && el("a", { href: `#segment/${order.customerId}` }, "The customer in Segment"), el("a", { href: `#messages/resource/${id}` }, "Messages about it")),
    notice,
    el("div", { class: "row actions" },
      button("Apply a random Order Edit", async () => {
        await post(`shop/orders/${id}/edit`);
        await reload("An Order Edit gave it another basket.");
      }, { id: "edit-order" }),
      !cancelled && button("Cancel the order …", () => confirm(`Cancel order ${order.orderNumber ?? short(id)}?`, "Its state becomes Cancelled, and Segment is told Order Cancelled, which cannot be taken back.", "Cancel the order", () => set({ orderState: "Cancelled" })), { class: "danger", id: "cancel-order" })),
    table({ id: "lines" }, ["Product", ["Quantity", "number"], ["Price", "number"], [`Total, ${currency}`, "number"]], shown.lines.map(lineRow), {
      caption: el("caption", { class: "unseen" }, "Lines of the order"),
      foot: el("tfoot", {}, shown.shipping !== null && total("Shipping", shown.shipping), total("To pay", shown.toPay), total("Refunded", shown.refunded), total("Left", shown.left)),
    }),
    el("form", { class: "panel inner", id: "states-form", onsubmit: (event) => {
      event.preventDefault();
      const changed = Object.fromEntries(Object.entries(selects).filter(([name, one]) => one.value && one.value !== order[name]).map(([name, one]) => [name, one.value]));
      doing(event.submitter, () => (Object.keys(changed).length ? set(changed) : Promise.reject(new Error("Choose another state first."))));
    } }, el("h3", {}, "States"), el("div", { class: "fields" }, Object.entries(STATES).map(([name, [label]]) => field(`state-${name}`, label, selects[name]))),
      el("div", { class: "row under" }, el("button", { type: "submit", id: "change-states" }, "Change the states"))),
    el("div", { class: "panel inner" }, el("h3", {}, "Refunds"),
      shown.refunds.length
        ? table({ id: "refunds" }, ["Refund", ["Amount", "number"], "State"], shown.refunds.map((one) => refundRow(one, money, reload)))
        : el("p", { class: "muted" }, shown.paid ? "Nothing was refunded yet." : "The order is not paid. A refund makes the payment too."),
      el("form", { id: "refund-form", onsubmit: (event) => {
        event.preventDefault();
        doing(refund, async () => {
          await post(`shop/orders/${id}/refunds`, { amount: amount.value, state: state.value });
          await reload("Refunded.");
        });
      } }, el("div", { class: "fields" }, field("refund-amount", `Amount, at most ${money(shown.left)}`, amount), field("refund-state", "State", state)),
        el("div", { class: "row under" }, refund))),
    folded("raw-order", "JSON", json(order, "JSON of the order")),
  ];
}

function lineRow({ name, sku, quantity, price, total, gift }) {
  return el("tr", {}, el("td", {}, name, gift && el("span", { class: "tag none" }, "gift"), el("div", { class: "muted small" }, sku)),
    [String(quantity), price, total].map((words) => el("td", { class: "number" }, words)));
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
