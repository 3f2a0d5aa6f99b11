// One customer of the shop: what it is, and what can be done to it.
import { post } from "./api.js";
import { problems } from "./dialogs.js";
import { button, doing, el, fill, json, say, short } from "./dom.js";
import { customerFields, editor, folded, when } from "./shop_forms.js";

const EXAMPLE = '[\n  {"action": "setTitle", "title": "Dr."}\n]';
const DRAFT = '{\n  "email": "ada@example.com",\n  "firstName": "Ada",\n  "addresses": [{"country": "GB", "city": "London"}],\n  "defaultShippingAddress": 0\n}';

/**
 * The elements for a customer, as it is or as it was when it was deleted. `reload` says what was done and shows the
 * customer anew, `confirm` asks before, `go` shows another place of the page.
 */
export function customerDetail({ customer, deleted, groups }, { notice, reload, confirm, go }) {
  const { id } = customer;
  const name = [customer.firstName, customer.lastName].filter(Boolean).join(" ") || customer.email;
  const head = [
    el("h3", { id: "detail-title", tabIndex: -1 }, name, " ", el("span", { class: `tag ${deleted ? "bad" : "none"}` }, deleted ? "deleted" : `version ${customer.version}`)),
    el("p", { class: "muted small wrap" }, `${customer.email} · ${id} · changed ${when(customer.lastModifiedAt)}`),
    el("p", { class: "row" }, el("a", { href: `#segment/${id}` }, "In Segment"), el("a", { href: `#messages/resource/${id}` }, "Messages about it"), el("a", { href: `#shop/orders/${id}` }, "Its orders")),
    notice,
  ];
  const raw = folded("raw-customer", "JSON", json(customer, "JSON of the customer"));
  if (deleted) return [...head, el("p", {}, "This customer was deleted. This is how it was last."), raw];
  const act = (path, body, words) => async () => {
    await post(`shop/customers/${id}/${path}`, body);
    await reload(words);
  };
  const form = customerFields(customer, groups, "customer");
  const save = el("button", { class: "main", type: "submit", id: "save-customer" }, "Save");
  const deletion = (dataErasure) => () => confirm(
    dataErasure ? `Delete ${name} with data erasure?` : `Delete ${name}?`,
    dataErasure ? "commercetools erases the personal data for good, and the service has Segment delete and suppress this user id." : "The customer cannot be brought back. By the setting ERASURE=every, Segment deletes the profile too.",
    dataErasure ? "Delete and erase" : "Delete", act("delete", { dataErasure }, "Deleted."));
  return [
    ...head,
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
        await reload("Updated.");
      })),
    raw,
  ];
}

/** Show a form and a box for JSON in a dialog; `created` gets the new customer when the dialog is closed. */
export function createCustomer(groups, created) {
  const dialog = el("dialog", { "aria-labelledby": "shop-dialog-title", id: "shop-dialog" });
  const { line, within } = problems();
  const send = within(async (draft) => {
    const customer = await post("shop/customers", draft);
    dialog.close();
    await created(customer);
  });
  const form = customerFields({}, groups, "new");
  const submit = el("button", { class: "main", type: "submit", id: "create" }, "Create");
  fill(dialog, el("h3", { id: "shop-dialog-title" }, "New customer"),
    el("form", { onsubmit: (event) => {
      event.preventDefault();
      const { address, customerGroup, ...draft } = form.changed();
      if (address) Object.assign(draft, { addresses: [address], defaultShippingAddress: 0 });
      if (customerGroup) draft.customerGroup = { typeId: "customer-group", id: customerGroup };
      doing(submit, () => send(draft));
    } }, form.element, line, el("div", { class: "row under" }, submit, el("button", { type: "button", onclick: () => dialog.close() }, "Close"))),
    folded("raw-draft", "Or by JSON", editor("draft", "commercetools' CustomerDraft", DRAFT, "Create from JSON", send)));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
