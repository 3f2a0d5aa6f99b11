// Dialogs that ask before what cannot be undone, and that say in themselves what failed: they cover a notice.
import { button, el } from "./dom.js";

/** A line for what failed in a dialog; `within` makes an action that fills it instead of throwing an error. */
export function problems() {
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

/** Ask, and return the dialog. `words` is the button that runs the action; if that fails, the dialog stays and says why. */
export function ask(title, text, words, action) {
  const { line, within } = problems();
  const close = () => dialog.close();
  const act = within(async () => {
    await action();
    close();
  });
  const dialog = el("dialog", { "aria-labelledby": "ask-title" },
    el("h3", { id: "ask-title" }, title), el("p", {}, text), line,
    el("div", { class: "row" }, button(words, act, { class: "danger" }), el("button", { type: "button", autofocus: true, onclick: close }, "Keep")));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
