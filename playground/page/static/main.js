// The shell: which view is shown, the pace, and whether the promises hold.
import { post } from "./api.js";
import { say, setCurrent, setText } from "./dom.js";
import { connect, onFrame } from "./live.js";
import * as counts from "./counts.js";
import * as curves from "./curves.js";
import * as explaining from "./explaining.js";
import * as mapping from "./mapping.js";
import * as messages from "./messages.js";
import * as segment from "./segment.js";
import * as shop from "./shop.js";
import * as trouble from "./trouble.js";

const VIEWS = { messages, shop, segment, trouble, mapping, counts };
const mounted = new Set();

/** Show the view that the address names, `#messages` or `#messages/123`; the view gets what follows the slash. */
function show() {
  const [name, ...rest] = decodeURIComponent(location.hash.slice(1)).split("/");
  const chosen = name in VIEWS ? name : "messages";
  for (const link of document.querySelectorAll(".views a")) setCurrent(link, link.hash === `#${chosen}` && "page");
  for (const view of Object.keys(VIEWS)) document.getElementById(`view-${view}`).hidden = view !== chosen;
  const view = VIEWS[chosen];
  if (!mounted.has(chosen)) {
    mounted.add(chosen);
    view.mount(document.getElementById(`view-${chosen}`));
  }
  view.shown?.(rest.join("/"));
}

function setUpPace() {
  const [slider, shown] = [document.getElementById("rate"), document.getElementById("rate-shown")];
  let moving = false;
  slider.addEventListener("input", () => {
    moving = true;
    shown.value = slider.value;
  });
  slider.addEventListener("change", async () => {
    try {
      await post("pace", { rate: Number(slider.value) });
    } catch (error) {
      say(error.message, "bad");
    }
    moving = false;
  });
  document.getElementById("pace").addEventListener("submit", (event) => event.preventDefault());
  onFrame(({ state }) => {
    if (moving || document.activeElement === slider) return;
    slider.value = state.pace.rate;
    shown.value = String(state.pace.rate);
  });
}

function setUpPromise() {
  const promise = document.getElementById("promise");
  const tell = (text, kind) => {
    setText(promise, text);
    promise.className = `promise ${kind}`;
  };
  onFrame(({ state }) => {
    const broken = state.judge.broken;
    if (broken.length) tell(`A promise is broken: ${broken.join(", ")}`, "bad");
    else if (state.backlog) tell(`The promises hold. ${state.backlog === 1 ? "1 message is" : `${state.backlog} messages are`} open.`, "open");
    else tell("The promises hold. Every message has ended.", "good");
  });
  connect((isConnected) => {
    if (!isConnected) tell("Not connected: is make playground still running?", "bad");
  });
}

messages.listen();
curves.listen();
setUpPace();
explaining.setUp();
setUpPromise();
window.addEventListener("hashchange", show);
show();
