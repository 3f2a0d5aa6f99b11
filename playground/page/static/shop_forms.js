// The shop's forms: labelled inputs, the fields of a customer, a box for JSON, and parts that unfold.
import { button, el, fill, time } from "./dom.js";

const FIELDS = [
  ["email", "E-mail", "email"], ["firstName", "First name"], ["lastName", "Last name"], ["dateOfBirth", "Date of birth", "date"],
  ["companyName", "Company"], ["locale", "Locale"],
];
const ADDRESS = [
  ["streetName", "Street"], ["streetNumber", "Number"], ["postalCode", "Postal code"], ["city", "City"], ["state", "State"],
  ["country", "Country (two letters)"], ["phone", "Phone"],
];

const typed = {}; // by the id of a box for JSON, what was sent last
const unfolded = new Set(); // ids of parts

export const when = (text) => `${text.slice(0, 10)} ${time(text)}`;
export const field = (id, label, input) => el("div", { class: "field" }, el("label", { for: id }, label), Object.assign(input, { id }));
export const options = (select, choices, value) =>
  fill(select, choices.map(([one, words]) => el("option", { value: one, selected: one === value }, words)));

/** The inputs of a customer's form; `changed()` gives what differs from what was shown. */
export function customerFields(customer, groups, prefix) {
  const inputs = [];
  const add = (path, label, input, value) => {
    input.value = value;
    inputs.push([path, input, input.value]);
    return field(`${prefix}-${path.join("-")}`, label, input);
  };
  const group = options(el("select"), [["", "none"], ...groups.map((one) => [one.id, one.name])], customer.customerGroup?.id ?? "");
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
export function editor(id, label, text, words, send) {
  const box = el("textarea", { rows: 8, spellcheck: false, value: typed[id] ?? text });
  return el("div", {}, field(id, label, box), el("div", { class: "row under" }, button(words, async () => {
    let value;
    typed[id] = box.value;
    try {
      value = JSON.parse(box.value);
    } catch (error) {
      throw new Error(`This is not JSON: ${error.message}.`);
    }
    await send(value);
  }, { id: `${id}-send` })));
}

/** A part that stays unfolded when what is shown is made anew. */
export function folded(id, title, ...inside) {
  const details = el("details", { id, open: unfolded.has(id) }, el("summary", { id: `${id}-title` }, title), inside);
  details.addEventListener("toggle", () => (details.open ? unfolded.add(id) : unfolded.delete(id)));
  return details;
}
